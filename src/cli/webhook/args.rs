//! What may be typed after `webhook`.

use clap::Subcommand;

use super::super::args::AdminArgs;
use crate::config::ProfileId;

#[derive(clap::Args)]
pub(crate) struct WebhookArgs {
    #[command(subcommand)]
    pub(crate) command: WebhookCommand,
}

#[derive(Subcommand)]
pub(crate) enum WebhookCommand {
    /// Have Wise send events to a URL
    ///
    /// An application subscription hears of every profile that the application acts for, and is made
    /// with the OAuth client's own credentials. A profile subscription hears of one, and is made with
    /// the user token of its grant. Where there is a subscription of the same event and URL, none is
    /// made. Event, version and URL are looked at before anything is sent.
    ///
    /// The ids stand on standard output, one a line, in the order of the events.
    #[command(after_help = "\
Examples:
  wise-auth-proxy webhook subscribe 'transfers#state-change' --url https://hooks.example.com/wise
  wise-auth-proxy webhook subscribe 'transfers#state-change' 'transfers#refund' --mtls \\
      --url https://hooks.example.com/wise
  wise-auth-proxy webhook subscribe 'balances#update' --profile 30000000 \\
      --url https://hooks.example.com/wise
  wise-auth-proxy webhook subscribe 'transfers#refund' --version 4.0.0 --replace \\
      --url https://hooks.example.com/wise")]
    Subscribe(SubscribeArgs),
    /// Say what Wise sends where: of the application, and of every profile with a grant
    ///
    /// Names the profile subscriptions that can move to the application, and those of a schema
    /// version that Wise is retiring.
    ///
    /// Ends with 1 if Wise did not show all of them.
    #[command(after_help = "\
Examples:
  wise-auth-proxy webhook list
  wise-auth-proxy webhook list --profile 30000000
  wise-auth-proxy webhook list --json | jq -r '.subscriptions[] | select(.can_move) | .id'")]
    List(ListArgs),
    /// Have Wise deliver a sample to an application subscription
    ///
    /// The ids of the deliveries stand on standard output: the receiver finds them in X-Delivery-Id,
    /// beside X-Test-Notification. Wise has no test for profile subscriptions.
    #[command(after_help = "\
Examples:
  wise-auth-proxy webhook test 72195556-e5cb-495e-a010-b37a4f2a3043")]
    Test {
        /// Id of the subscription, as `webhook list` shows it
        #[arg(value_name = "SUBSCRIPTION_ID", value_parser = id)]
        id: String,
        /// Print the deliveries as JSON
        #[arg(long)]
        json: bool,
    },
    /// End a subscription, and with it the deliveries that Wise still tries again
    #[command(after_help = "\
Examples:
  wise-auth-proxy webhook delete 72195556-e5cb-495e-a010-b37a4f2a3043
  wise-auth-proxy webhook delete 72195556-e5cb-495e-a010-b37a4f2a3043 --yes --json")]
    Delete(DeleteArgs),
    /// Say which events there are, whose subscriptions can name them, and in which schema versions
    ///
    /// As Wise's API reference had them when this version was made; Wise is not asked.
    #[command(after_help = "\
Examples:
  wise-auth-proxy webhook events
  wise-auth-proxy webhook events --json | jq -r '.[] | select(.profile) | .event'")]
    Events {
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Say what the running proxy keeps for the application, and why it does not go on
    #[command(after_help = "\
Examples:
  wise-auth-proxy webhook queue
  wise-auth-proxy webhook queue --json | jq '.[] | select(.queued > 0)'")]
    Queue(AdminArgs),
    /// Put the deliveries that the application has refused at the end of the queue, and try at once
    ///
    /// Once the application takes them. What waits for an application that is down needs no command:
    /// it is tried again by itself.
    #[command(after_help = "\
Examples:
  wise-auth-proxy webhook retry transfers")]
    Retry {
        /// Name of the [[webhook]]
        #[arg(value_name = "NAME", value_parser = webhook)]
        name: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

/// Whose subscriptions.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Whose {
    /// The application's own
    #[arg(long, conflicts_with_all = ["profile", "grant"])]
    pub(crate) application: bool,

    /// Those of a profile
    #[arg(long, value_name = "ID")]
    pub(crate) profile: Option<ProfileId>,

    /// Those of a grant's profile
    #[arg(long, value_name = "NAME")]
    pub(crate) grant: Option<String>,
}

#[derive(clap::Args)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag that is given or not"
)]
pub(crate) struct SubscribeArgs {
    /// Which event, such as transfers#state-change; may be several
    #[arg(value_name = "EVENT", required = true)]
    pub(crate) events: Vec<String>,

    /// Where Wise sends it: https, a domain name, port 443, no query, no credentials
    #[arg(long, value_name = "URL")]
    pub(crate) url: String,

    #[command(flatten)]
    pub(crate) whose: Whose,

    /// Schema version of what is sent [default: 4.0.0, or the event's newest]
    #[arg(long, value_name = "VERSION", value_parser = version)]
    pub(crate) version: Option<String>,

    /// Have Wise show its client certificate at the receiver
    #[arg(long)]
    pub(crate) mtls: bool,

    /// Your name for it [default: wise-auth-proxy, and the event]
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) name: Option<String>,

    /// Where there is one of another version, or without --mtls, make the new one and then end the old
    ///
    /// One that a [[webhook]] names in its `subscriptions` is not ended: the new one must be named there
    /// first, and this command says how to go on.
    #[arg(long)]
    pub(crate) replace: bool,

    /// Ask Wise also for events and versions that this program does not know
    #[arg(long)]
    pub(crate) unlisted: bool,

    /// Print what was done as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) whose: Whose,

    /// Print them as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct DeleteArgs {
    /// Id of the subscription, as `webhook list` shows it
    #[arg(value_name = "SUBSCRIPTION_ID", value_parser = id)]
    pub(crate) id: String,

    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,

    #[command(flatten)]
    pub(crate) whose: Whose,

    /// Print what was done as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn id(typed: &str) -> Result<String, &'static str> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_id = (1..=64).contains(&typed.len()) && typed.bytes().all(fits);
    is_id.then(|| typed.to_owned()).ok_or(
        "an id has letters, digits and hyphens, such as 72195556-e5cb-495e-a010-b37a4f2a3043",
    )
}

/// As the configuration has it, so that it is one segment of a path.
fn webhook(typed: &str) -> Result<String, &'static str> {
    let fits = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    let is_name = (1..=64).contains(&typed.len()) && typed.bytes().all(fits);
    is_name
        .then(|| typed.to_owned())
        .ok_or("a webhook's name has lower-case letters, digits, hyphens and underscores")
}

fn version(typed: &str) -> Result<String, &'static str> {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_version =
        typed.len() <= 16 && typed.split('.').count() == 3 && typed.split('.').all(number);
    is_version
        .then(|| typed.to_owned())
        .ok_or("a version has three numbers, such as 4.0.0")
}

fn name(typed: &str) -> Result<String, &'static str> {
    let fits =
        !typed.trim().is_empty() && typed.len() <= 100 && !typed.chars().any(char::is_control);
    fits.then(|| typed.to_owned())
        .ok_or("a name has 1 to 100 characters")
}
