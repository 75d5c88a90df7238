//! Users and groups of this machine, by name or number.
//!
//! Looked up when a configuration is loaded, through the C library, and so by whatever the machine
//! knows them from. `/etc` stays readable for a confined process; the static program has the
//! look-up in `/etc/passwd` and `/etc/group` built in.

use uzers::os::unix::GroupExt;

/// A user's number; `None`: there is no such user.
pub(crate) fn user(name: &str) -> Option<u32> {
    let number = || uzers::get_user_by_name(name).map(|user| user.uid());
    name.parse().ok().or_else(number)
}

/// A group's number and the users that the machine lists as its members; `None`: there is no such
/// group. A number needs no entry.
pub(crate) fn group(name: &str) -> Option<(u32, Vec<u32>)> {
    let number: Option<u32> = name.parse().ok();
    let entry = match number {
        Some(number) => uzers::get_group_by_gid(number),
        None => uzers::get_group_by_name(name),
    };
    let number = number.or_else(|| entry.as_ref().map(uzers::Group::gid))?;
    let members = entry.iter().flat_map(GroupExt::members);
    let members = members.filter_map(uzers::get_user_by_name);
    Some((number, members.map(|user| user.uid()).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_known_by_name_and_number() {
        assert_eq!(user("root"), Some(0));
        assert_eq!(user("4711"), Some(4711), "a number needs no entry");
        assert_eq!(user("no-such-user"), None);
        assert_eq!(group("root").map(|(number, _)| number), Some(0));
        assert_eq!(group("4711"), Some((4711, Vec::new())));
        assert_eq!(group("no-such-group"), None);
    }
}
