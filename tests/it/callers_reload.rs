//! One edit that changes callers, policies and the doors themselves: whatever is open obeys at once.

use std::path::Path;
use std::process::Command;

use http::Request;

use crate::house::{self, House, PROFILE, Site};

/// Asks at a unix door with a key, as curl does; a quote where `post`. The status.
fn ask(site: &Site, door: &str, key: &str, post: bool) -> u16 {
    let mut command = Command::new("curl");
    command.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}"]);
    command.arg("--unix-socket").arg(site.path(door));
    if !key.is_empty() {
        command.args(["-H", &format!("Authorization: Bearer {key}")]);
    }
    if post {
        let quote = r#"{"sourceCurrency":"GBP","targetCurrency":"EUR","sourceAmount":1}"#;
        command.args(["-H", "Content-Type: application/json", "-d", quote]);
        command.arg(format!("http://localhost/v3/profiles/{PROFILE}/quotes"));
    } else {
        command.arg("http://localhost/v1/me");
    }
    let output = command
        .output()
        .expect("curl is needed: apt-get install curl");
    let text = String::from_utf8(output.stdout).unwrap();
    text.parse()
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

/// Makes a key for a caller with `caller ADD|ROTATE …`.
async fn key(site: &Site, args: &[&str]) -> String {
    let output = site.cli(&[&["caller"], args].concat()).await;
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn edit(file: &Path, change: impl Fn(&str) -> String) {
    let before = std::fs::read_to_string(file).unwrap();
    let after = change(&before);
    assert_ne!(before, after, "the change must change something");
    std::fs::write(file, after).unwrap();
}

/// `reload`, which goes well; what it says.
async fn reload(house: &House) -> String {
    let output = house.cli(&["reload"]).await;
    assert!(output.status.success(), "{output:?}");
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaked_key_ends_with_the_reload_that_also_brings_a_new_door() {
    let wise = house::wise().await;
    let site = House::on(&wise)
        .set("runtime.reload_interval", "1h")
        .prepare()
        .await;
    let leaked = key(&site, &["add", "payroll", "--door", "127.0.0.1:0"]).await;
    let house = site.start().await;
    let status = async |key: &str| {
        let field = format!("Bearer {key}");
        let request = Request::get("/v1/me").header("authorization", field);
        house.send(request).await.status.as_u16()
    };
    assert_eq!(status(&leaked).await, 200);

    // First in the list: every door has another number now.
    let rotate = ["rotate", "payroll", "--overlap", "0s"];
    let fresh = key(&site, &rotate).await;
    let added = "[[door]]\naddress = \"unix:new.sock\"\ncallers = [\"payroll\"]\n[[door]]";
    edit(&site.config, |text| text.replacen("[[door]]", added, 1));
    let said = reload(&house).await;

    assert_eq!(status(&leaked).await, 407, "{said}");
    assert_eq!(status(&fresh).await, 200, "{said}");
    assert!(said.contains("in use anew: caller\n"), "{said}");
    let new = format!("door unix:{}", site.path("new.sock").display());
    let waits = format!("not in use before a restart: {new} (new, not open yet)\n");
    assert!(said.contains(&waits), "{said}");
    assert!(!site.path("new.sock").exists());
    let told = &house.status().await["last_reload"]["needs_restart"];
    assert_eq!(told[0], format!("{new} (new, not open yet)"));

    // Nor does any later reload hang on the doors of the start.
    let last = key(&site, &rotate).await;
    let said = reload(&house).await;
    assert!(said.contains("in use anew: caller\n") && said.contains(&waits));
    assert_eq!(status(&fresh).await, 407);
    assert_eq!(status(&last).await, 200);

    // Behind the other, where the harness looks for it: another place alone says nothing.
    let new = added.strip_suffix("[[door]]").unwrap();
    edit(&site.config, |text| text.replacen(new, "", 1) + new);
    assert!(!reload(&house).await.contains("in use anew"));
    assert_eq!(house.stop().await.code(), Some(0));
    let _house = site.start().await;
    assert_eq!(
        ask(&site, "new.sock", &last, false),
        200,
        "after the restart"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn doors_that_go_or_move_in_the_list_leave_every_other_its_own_rules() {
    const LOOK: &str = "[[policy]]\nname = \"look\"\nallow = [\"reads\"]\n";
    let wise = house::wise().await;
    let site = House::on(&wise)
        .set("runtime.reload_interval", "1h")
        .prepare()
        .await;
    let door = |name: &str, rules: &str| format!("[[door]]\naddress = \"unix:{name}\"\n{rules}");
    let gone = door("gone.sock", "callers = [\"payroll\"]\npolicy = \"look\"\n");
    let free = door("free.sock", "");
    let bound = door("bound.sock", "policy = \"read-only\"\n");
    edit(&site.config, |text| {
        format!("{text}{gone}{free}{bound}{LOOK}")
    });
    let leaked = key(&site, &["add", "payroll"]).await;
    let house = site.start().await;
    let may = |door: &str, key: &str| [false, true].map(|post| ask(&site, door, key, post));
    assert_eq!(may("gone.sock", &leaked), [200, 403]);
    assert_eq!(may("free.sock", ""), [200, 200]);
    assert_eq!(may("bound.sock", ""), [200, 403]);

    // One door goes, with its policy; the two behind it change places and rules.
    let fresh = key(&site, &["rotate", "payroll", "--overlap", "0s"]).await;
    let before = std::fs::read_to_string(&site.config).unwrap();
    edit(&site.config, |text| {
        let rest = text
            .replace(&gone, "")
            .replace(LOOK, "")
            .replace(&free, "")
            .replace(&bound, "");
        let freed = door("bound.sock", "");
        let bound = door("free.sock", "policy = \"read-only\"\n");
        rest.replacen("[[door]]", &format!("{freed}{bound}[[door]]"), 1)
    });
    let said = reload(&house).await;

    assert_eq!(may("bound.sock", ""), [200, 200], "{said}");
    assert_eq!(may("free.sock", ""), [200, 403], "{said}");
    assert_eq!(
        may("gone.sock", &leaked),
        [407, 407],
        "open, and no way back for a key that ended: {said}"
    );
    assert_eq!(may("gone.sock", &fresh), [200, 403], "no freer than it was");
    let quote =
        serde_json::json!({ "sourceCurrency": "GBP", "targetCurrency": "EUR", "sourceAmount": 1 });
    let path = format!("/v3/profiles/{PROFILE}/quotes");
    assert_eq!(house.request(house::post(&path, &quote)).await.status, 200);
    let place = format!("door unix:{}", site.path("gone.sock").display());
    assert!(said.contains("in use anew: door, caller\n"), "{said}");
    let waits = format!("before a restart: {place} (gone, still open)\n");
    assert!(said.contains(&waits), "{said}");

    // A caller that is taken out is nobody there either.
    let removed = site.cli(&["caller", "remove", "payroll"]).await;
    assert!(removed.status.success(), "{removed:?}");
    reload(&house).await;
    assert_eq!(may("gone.sock", &fresh), [407, 407]);

    // Back as it was: nothing waits any more.
    std::fs::write(&site.config, before).unwrap();
    let said = reload(&house).await;
    assert!(!said.contains("restart"), "{said}");
    assert_eq!(may("gone.sock", &fresh), [200, 403]);
    assert_eq!(may("free.sock", ""), [200, 200]);
    assert_eq!(may("bound.sock", ""), [200, 403]);
}
