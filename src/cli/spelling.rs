//! Commands and file names as they are typed into a POSIX shell: what a message says can be pasted.

use std::path::Path;

/// A text as a shell takes it for one word.
pub(crate) fn word(text: &str) -> String {
    // ASCII alone: what another letter means to a shell hangs on its locale.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A file's name as one word.
pub(crate) fn path(path: &Path) -> String {
    word(&path.display().to_string())
}

/// A command of ours; `config`: where it does not find the configuration by itself. The words of
/// `rest` are quoted already.
pub(crate) fn command(config: Option<&Path>, rest: &str) -> String {
    match config {
        None => format!("wise-auth-proxy {rest}"),
        Some(config) => format!("wise-auth-proxy {rest} --config {}", path(config)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ODD: [&str; 8] = [
        "Acme Ltd", "Smith's", "", "$HOME", "~", "Zoë", "a`id`b", "*\\\n;&",
    ];

    #[test]
    fn a_word_is_quoted_where_a_shell_would_take_it_apart() {
        for (text, typed) in [
            ("secrets/client.csr", "secrets/client.csr"),
            (
                "/etc/wise-auth-proxy/config.toml",
                "/etc/wise-auth-proxy/config.toml",
            ),
            ("Acme Ltd", "'Acme Ltd'"),
            ("Smith's", r"'Smith'\''s'"),
            ("", "''"),
            ("$HOME", "'$HOME'"),
            ("~", "'~'"),
            ("Zoë", "'Zoë'"),
        ] {
            assert_eq!(word(text), typed);
        }
    }

    #[test]
    fn a_shell_reads_a_quoted_word_as_it_was() {
        for text in ODD {
            let line = format!("printf %s {}", word(text));
            let shell = std::process::Command::new("sh")
                .args(["-c", &line])
                .output();
            assert_eq!(String::from_utf8(shell.unwrap().stdout).unwrap(), text);
        }
    }

    #[test]
    fn a_command_names_the_configuration_that_it_does_not_find() {
        assert_eq!(command(None, "run"), "wise-auth-proxy run");
        let named = command(Some(Path::new("a b.toml")), "cert show");
        assert_eq!(named, "wise-auth-proxy cert show --config 'a b.toml'");
    }
}
