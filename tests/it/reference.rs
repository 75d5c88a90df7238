//! The reference in `docs/reference` is what the program says of itself.
//!
//! `UPDATE_REFERENCE=1 cargo test --test it reference::` writes it anew.

use std::path::Path;
use std::process::Command;

#[test]
fn every_page_of_the_reference_is_what_the_program_says() {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference");
    let mut stale = Vec::new();
    for page in ["commands", "configuration", "metrics"] {
        let said = Command::new(env!("CARGO_BIN_EXE_wise-auth-proxy"))
            .args(["reference", page])
            .output()
            .unwrap();
        assert!(said.status.success(), "{said:?}");
        let said = String::from_utf8(said.stdout).unwrap();
        let path = pages.join(format!("{page}.md"));
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            std::fs::create_dir_all(&pages).unwrap();
            std::fs::write(&path, &said).unwrap();
        }
        if std::fs::read_to_string(&path).unwrap_or_default() != said {
            stale.push(path);
        }
    }
    assert!(
        stale.is_empty(),
        "{stale:?}: run UPDATE_REFERENCE=1 cargo test --test it reference::"
    );
}

#[test]
fn bash_and_man_understand_what_is_made_for_them() {
    let say = |arguments: &[&str]| {
        let said = Command::new(env!("CARGO_BIN_EXE_wise-auth-proxy"))
            .args(arguments)
            .output()
            .unwrap();
        assert!(said.status.success(), "{said:?}");
        said.stdout
    };
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("completions");
    std::fs::write(&script, say(&["completions", "bash"])).unwrap();
    let complete = "source \"$1\"; COMP_WORDS=(wise-auth-proxy swi); COMP_CWORD=1; \
        completer=$(complete -p wise-auth-proxy | grep -o -- '-F [^ ]*'); \
        ${completer#-F } wise-auth-proxy swi wise-auth-proxy; echo \"${COMPREPLY[@]}\"";
    let completed = Command::new("bash")
        .args(["-c", complete, "bash"])
        .arg(&script)
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&completed.stdout).trim(),
        "switch",
        "{completed:?}"
    );

    say(&["man", "--out", directory.path().to_str().unwrap()]);
    let page = std::fs::read_to_string(directory.path().join("wise-auth-proxy-switch.1")).unwrap();
    assert!(page.contains(".SH NAME"), "{page}");
    assert!(page.contains("\\-\\-reason"), "{page}");
    let path = directory.path().join("wise-auth-proxy-switch.1");
    let mut man = Command::new("man");
    // Without it a warning of its formatter would be lost.
    man.args(["--warnings", "--local-file"]).arg(&path);
    let man = man.env("MANPAGER", "cat").env("MANWIDTH", "100").output();
    let Ok(man) = man else {
        return crate::house::skip("there is no man");
    };
    let shown = String::from_utf8(man.stdout).unwrap();
    let said = String::from_utf8_lossy(&man.stderr);
    assert!(man.status.success() && said.is_empty(), "{said}");
    assert!(
        shown.contains("NAME") && shown.contains("--reason"),
        "{shown}"
    );
}
