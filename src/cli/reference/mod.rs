//! The pages of `docs/reference`, made of the definitions that the program runs by. A test holds
//! them against what lies in the repository.

mod commands;
mod configuration;
mod metrics;

/// A page of the reference.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Page {
    Commands,
    Configuration,
    Metrics,
}

/// The page in Markdown.
pub(crate) fn page(page: Page) -> String {
    match page {
        Page::Commands => commands::page(),
        Page::Configuration => configuration::page(),
        Page::Metrics => metrics::page(),
    }
}

/// First line of each page.
const MADE: &str =
    "<!-- Made by `wise-auth-proxy reference`; a test holds it against the program. -->";
