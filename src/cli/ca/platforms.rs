//! How to have the local authority trusted, by platform and runtime: for one application where that
//! can be, else for the machine.

use std::path::PathBuf;

use clap::ValueEnum;

use super::super::spelling;

/// Where an application runs, or what it is written in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Platform {
    Java,
    Node,
    Python,
    Curl,
    Dotnet,
    Go,
    Php,
    Ruby,
    Debian,
    Rhel,
    Alpine,
    Macos,
    Windows,
}

/// What the instructions name.
#[derive(Debug)]
pub(super) struct Words {
    pub(super) certificate: PathBuf,
    /// A host of Wise's.
    pub(super) wise: String,
    /// The door.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
    /// The door wants to know who calls.
    pub(super) asks: bool,
}

impl Platform {
    pub(super) const ALL: [Self; 13] = [
        Self::Java,
        Self::Node,
        Self::Python,
        Self::Curl,
        Self::Dotnet,
        Self::Go,
        Self::Php,
        Self::Ruby,
        Self::Debian,
        Self::Rhel,
        Self::Alpine,
        Self::Macos,
        Self::Windows,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Java => "java",
            Self::Node => "node",
            Self::Python => "python",
            Self::Curl => "curl",
            Self::Dotnet => "dotnet",
            Self::Go => "go",
            Self::Php => "php",
            Self::Ruby => "ruby",
            Self::Debian => "debian",
            Self::Rhel => "rhel",
            Self::Alpine => "alpine",
            Self::Macos => "macos",
            Self::Windows => "windows",
        }
    }

    /// The commands, with a comment line above each.
    pub(super) fn instructions(self, words: &Words) -> String {
        let credentials = if words.asks { "NAME:KEY@" } else { "" };
        let scheme = if words.tls { "https" } else { "http" };
        let bracketed = if words.host.contains(':') {
            format!("[{}]", words.host)
        } else {
            words.host.clone()
        };
        let proxy = format!("{scheme}://{credentials}{bracketed}:{}", words.port);
        let mut text = self
            .template()
            .replace("{ca}", &spelling::path(&words.certificate))
            .replace("{proxy}", &proxy)
            .replace("{host}", &words.host)
            .replace("{port}", &words.port.to_string())
            .replace("{wise}", &words.wise);
        if words.asks {
            text.push_str(
                "\n# The door asks who calls: NAME may be anything, KEY is the caller's key.",
            );
        }
        text
    }

    const fn template(self) -> &'static str {
        match self {
            Self::Java => JAVA,
            Self::Node => NODE,
            Self::Python => PYTHON,
            Self::Curl => CURL,
            Self::Dotnet => DOTNET,
            Self::Go => GO,
            Self::Php => PHP,
            Self::Ruby => RUBY,
            Self::Debian => DEBIAN,
            Self::Rhel => RHEL,
            Self::Alpine => ALPINE,
            Self::Macos => MACOS,
            Self::Windows => WINDOWS,
        }
    }
}

const JAVA: &str = r#"# For one application: a copy of Java's trust store with the authority in it.
cp "$JAVA_HOME/lib/security/cacerts" wise-truststore && chmod u+w wise-truststore
keytool -importcert -noprompt -alias wise-auth-proxy -file {ca} -keystore wise-truststore -storepass changeit
# Start it with these; HttpsURLConnection and java.net.http.HttpClient follow them.
java -Djavax.net.ssl.trustStore="$PWD/wise-truststore" -Djavax.net.ssl.trustStorePassword=changeit -Dhttps.proxyHost={host} -Dhttps.proxyPort={port} …
# Where the door asks who calls, an Authenticator shows the key; Java shows none to a proxy unless
# -Djdk.http.auth.tunneling.disabledSchemes="" is there, too.
# For every application of this Java: the same keytool with -cacerts instead of -keystore … -storepass …"#;

const NODE: &str = r"# For one application. Node 24, and 22 from 22.21 on:
NODE_EXTRA_CA_CERTS={ca} NODE_USE_ENV_PROXY=1 HTTPS_PROXY={proxy} node app.js
# Older versions take no proxy from the environment. With the package undici:
#   setGlobalDispatcher(new EnvHttpProxyAgent())   and   NODE_EXTRA_CA_CERTS={ca} HTTPS_PROXY={proxy} node app.js
# With the package https-proxy-agent, for https.request and axios:
#   new HttpsProxyAgent('{proxy}')   as `agent`, or as axios' `httpsAgent` beside `proxy: false`
# Node does not read the system's trust store unless started with --use-openssl-ca or --use-system-ca.";

const PYTHON: &str = r#"# For one application: these variables replace the list of authorities, so add to it.
cat "$(python3 -m certifi)" {ca} > wise-bundle.pem
# requests:
REQUESTS_CA_BUNDLE="$PWD/wise-bundle.pem" HTTPS_PROXY={proxy} python3 app.py
# urllib, httpx and what else asks OpenSSL:
SSL_CERT_FILE="$PWD/wise-bundle.pem" HTTPS_PROXY={proxy} python3 app.py
# aiohttp wants `trust_env=True` at its session; http.client wants `set_tunnel("{wise}", 443)`."#;

const CURL: &str = r"# For one call:
curl --proxy {proxy} --cacert {ca} https://{wise}/v1/profiles
# For a script; the variable replaces curl's list of authorities:
export https_proxy={proxy} CURL_CA_BUNDLE={ca}";

const DOTNET: &str = r"# For one application, on Linux; the variable replaces the list of authorities, so add to it:
cat /etc/ssl/certs/ca-certificates.crt {ca} > wise-bundle.pem
SSL_CERT_FILE=$PWD/wise-bundle.pem HTTPS_PROXY={proxy} dotnet app.dll
# HttpClient follows HTTPS_PROXY. On Windows and macOS .NET asks the system's store: see
# `--for windows` and `--for macos`.";

const GO: &str = r"# For one application, on Linux; the variable replaces the file of authorities, so add to it:
cat /etc/ssl/certs/ca-certificates.crt {ca} > wise-bundle.pem
SSL_CERT_FILE=$PWD/wise-bundle.pem HTTPS_PROXY={proxy} ./app
# http.DefaultTransport follows HTTPS_PROXY; a Transport of one's own needs
# `Proxy: http.ProxyFromEnvironment`.";

const PHP: &str = r"# For one application; the settings replace the list of authorities, so add to it:
cat /etc/ssl/certs/ca-certificates.crt {ca} > wise-bundle.pem
https_proxy={proxy} php -d curl.cainfo=$PWD/wise-bundle.pem -d openssl.cafile=$PWD/wise-bundle.pem app.php
# Under PHP-FPM both belong into the pool's file as php_admin_value[…], and the variable as
# env[https_proxy]; Guzzle takes it on the command line only: there set its `proxy` option.";

const RUBY: &str = r"# For one application; the variable replaces the list of authorities, so add to it:
cat /etc/ssl/certs/ca-certificates.crt {ca} > wise-bundle.pem
SSL_CERT_FILE=$PWD/wise-bundle.pem http_proxy={proxy} https_proxy={proxy} ruby app.rb
# Net::HTTP looks at http_proxy for https:// as well, Faraday at https_proxy: set both.";

const DEBIAN: &str = r"# For the whole machine, as root; the file's name must end in .crt:
install -m 0644 {ca} /usr/local/share/ca-certificates/wise-auth-proxy.crt && update-ca-certificates
# Take it back:
rm /usr/local/share/ca-certificates/wise-auth-proxy.crt && update-ca-certificates --fresh
# curl, wget, Go, Ruby, PHP, .NET and Python's urllib follow; requests, Node and Java have lists of
# their own: `--for python`, `--for node`, `--for java`. Applications still need https_proxy={proxy}";

const RHEL: &str = r"# For the whole machine, as root:
install -m 0644 {ca} /etc/pki/ca-trust/source/anchors/wise-auth-proxy.pem && update-ca-trust
# Take it back:
rm /etc/pki/ca-trust/source/anchors/wise-auth-proxy.pem && update-ca-trust
# The distribution's Java follows as well; requests, Node and other Javas have lists of their own:
# `--for python`, `--for node`, `--for java`. Applications still need https_proxy={proxy}";

const ALPINE: &str = r"# For the whole machine or image, as root:
apk add ca-certificates
install -m 0644 {ca} /usr/local/share/ca-certificates/wise-auth-proxy.crt && update-ca-certificates
# Take it back:
rm /usr/local/share/ca-certificates/wise-auth-proxy.crt && update-ca-certificates
# requests, Node and Java have lists of their own: `--for python`, `--for node`, `--for java`.
# Applications still need https_proxy={proxy}";

const MACOS: &str = r"# For this user, asked for the password:
security add-trusted-cert -r trustRoot -p ssl -k ~/Library/Keychains/login.keychain-db {ca}
# For everybody:
sudo security add-trusted-cert -d -r trustRoot -p ssl -k /Library/Keychains/System.keychain {ca}
# Take it back:
security remove-trusted-cert {ca}
# Python, Node and Java have lists of their own: `--for python`, `--for node`, `--for java`.
# Applications still need https_proxy={proxy}";

const WINDOWS: &str = r"# For this user:
certutil -user -addstore Root {ca}
# For everybody, as administrator:
certutil -addstore Root {ca}
# Take it back (with -user for this user):
certutil -delstore Root wise-auth-proxy
# Python, Node and Java have lists of their own: `--for python`, `--for node`, `--for java`.
# Applications still need HTTPS_PROXY={proxy}";

#[cfg(test)]
mod tests {
    use super::*;

    fn words(asks: bool) -> Words {
        Words {
            certificate: "/etc/wise proxy/ca.pem".into(),
            wise: "api.wise.com".into(),
            host: "127.0.0.1".into(),
            port: 8080,
            tls: false,
            asks,
        }
    }

    #[test]
    fn every_platform_names_the_certificate_and_leaves_no_blank() {
        for platform in Platform::ALL {
            let text = platform.instructions(&words(false));
            assert!(text.contains("'/etc/wise proxy/ca.pem'"), "{text}");
            assert!(text.contains("8080"), "{text}");
            for blank in ["{ca}", "{proxy}", "{host}", "{port}", "{wise}", "KEY@"] {
                assert!(!text.contains(blank), "{blank}: {text}");
            }
            let named = Platform::from_str(platform.name(), false);
            assert_eq!(named, Ok(platform));
        }
    }

    #[test]
    fn a_door_that_asks_has_the_key_in_the_address() {
        let text = Platform::Curl.instructions(&words(true));
        assert!(text.contains("http://NAME:KEY@127.0.0.1:8080"), "{text}");
        let v6 = Words {
            host: "::1".into(),
            tls: true,
            ..words(false)
        };
        let text = Platform::Curl.instructions(&v6);
        assert!(text.contains("https://[::1]:8080"), "{text}");
    }
}
