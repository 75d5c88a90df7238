//! Commands and file names as they are typed into a POSIX shell: what a message says can be pasted.

use std::borrow::Cow;
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

/// A text whose writer does not know how the configuration is called, as it is to be read here: each
/// command of ours that stands in backticks means that configuration.
pub(crate) fn text<'a>(config: Option<&Path>, text: &'a str) -> Cow<'a, str> {
    let Some(config) = config else {
        return Cow::Borrowed(text);
    };
    let parts = text.split('`').enumerate().map(|(at, part)| {
        let is_ours = at % 2 == 1 && part.starts_with("wise-auth-proxy ");
        if is_ours && !part.contains("--config") {
            Cow::Owned(format!("{part} --config {}", path(config)))
        } else {
            Cow::Borrowed(part)
        }
    });
    Cow::Owned(parts.collect::<Vec<_>>().join("`"))
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

    #[test]
    fn a_text_of_others_comes_to_mean_the_configuration_that_was_named() {
        let config = Path::new("a b.toml");
        for (written, read) in [
            (
                "see `wise-auth-proxy status`, and `status.log`",
                "see `wise-auth-proxy status --config 'a b.toml'`, and `status.log`",
            ),
            (
                "`wise-auth-proxy init --config other.toml` makes it",
                "`wise-auth-proxy init --config other.toml` makes it",
            ),
            (
                "wise-auth-proxy does not run",
                "wise-auth-proxy does not run",
            ),
        ] {
            assert_eq!(text(Some(config), written), read);
            assert_eq!(text(None, written), written);
        }
    }
}
