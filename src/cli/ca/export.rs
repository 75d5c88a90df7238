//! `ca export`: the authority's certificate, and how to have it trusted.

use std::path::PathBuf;

use super::super::args::{CaExportArgs, Global};
use super::super::failure::{Exit, Failure};
use super::super::report;
use super::platforms::{Platform, Words};
use super::{uncovered, warn_uncovered};
use crate::config::{Config, DoorAddress};
use crate::tls::Vouching;

pub(super) fn run(global: &Global, args: &CaExportArgs) -> Result<(), Failure> {
    let config = &global.load()?.config;
    let vouching = Vouching::read(&config.ca.certificate)?;
    let file = if let Some(path) = &args.out {
        let bytes = if args.der {
            vouching.der()
        } else {
            vouching.pem().as_bytes()
        };
        std::fs::write(path, bytes).map_err(|error| {
            let text = format!("cannot write {}: {error}", path.display());
            Failure::new(Exit::Failed, anyhow::Error::msg(text))
                .hint("name a file in a directory that is yours")
        })?;
        report::say(&format!(
            "the authority's certificate is in {}",
            path.display()
        ));
        path
    } else {
        report::data(vouching.pem().trim_end())?;
        &config.ca.certificate
    };
    warn_uncovered(global, &uncovered(config, &vouching));
    let file = std::path::absolute(file).unwrap_or_else(|_| PathBuf::from(file));
    match args.platform {
        Some(platform) => report::say(&platform.instructions(&words(config, file))),
        None => report::say(&format!(
            "{} says how to have it trusted; NAME is one of {}",
            global.spell("ca export --for NAME"),
            Platform::ALL.map(Platform::name).join(", ")
        )),
    }
    Ok(())
}

/// The certificate's file, and the door that offers CONNECT.
fn words(config: &Config, certificate: PathBuf) -> Words {
    let mut doors = config.doors.iter().filter(|door| door.connect);
    let offered = doors.find_map(|door| match &door.address {
        DoorAddress::Tcp(address) => Some((address, door)),
        DoorAddress::Unix { .. } => None,
    });
    let (host, port, tls, asks) = match offered {
        Some((address, door)) => (
            address.ip().to_string(),
            address.port(),
            door.tls.is_some(),
            door.callers.is_some(),
        ),
        None => ("127.0.0.1".to_owned(), 8080, false, false),
    };
    Words {
        certificate,
        wise: config.hosts.plain.host.clone(),
        host,
        port,
        tls,
        asks,
    }
}
