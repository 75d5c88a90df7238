use rustix::io;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// No core dump, and no process of the same user may read our memory, our environment, or attach.
///
/// Both, because each alone leaves a way: the limit says nothing to a kernel that pipes dumps into
/// a program (`core_pattern` with `|`), and the other is undone by an `execve`.
pub(crate) fn close() -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}
