//! Callers in the configuration file.

use anyhow::anyhow;
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, Value};

use super::super::failure::{Exit, Failure};
use super::super::sheet::{Sheet, set};
use crate::config::{DEFAULTS, KeyHash};

impl Sheet {
    pub(super) fn has(&self, name: &str) -> Result<bool, Failure> {
        let callers = tables(&self.document, "caller")?;
        Ok(callers.is_some_and(|callers| callers.iter().any(|caller| is(caller, "name", name))))
    }

    pub(super) fn must_have(&self, name: &str) -> Result<(), Failure> {
        if self.has(name)? {
            return Ok(());
        }
        let error = anyhow!("there is no caller `{name}` in {}", self.path.display());
        Err(Failure::new(Exit::Failed, error).hint("`wise-auth-proxy caller list` names them"))
    }

    pub(super) fn add(
        &mut self,
        name: &str,
        policy: Option<&str>,
        hash: KeyHash,
    ) -> Result<(), Failure> {
        let mut caller = Table::new();
        caller.insert("name", value(name));
        caller.insert("hashes", Item::Value(listed(&[hash])));
        if let Some(policy) = policy {
            caller.insert("policy", value(policy));
        }
        caller.decor_mut().set_prefix("\n");
        tables_mut(&mut self.document, "caller")?.push(caller);
        Ok(())
    }

    /// Adds a caller's name to a door. Returns whether that door let in everybody until now.
    pub(super) fn let_in(&mut self, address: &str, name: &str) -> Result<bool, Failure> {
        let none = !self.document.contains_key("door");
        if none && default_door().as_deref() == Some(address) {
            let mut door = Table::new();
            door.insert("address", value(address));
            door.decor_mut().set_prefix("\n");
            tables_mut(&mut self.document, "door")?.push(door);
        }
        let doors = tables_mut(&mut self.document, "door")?;
        let known: Vec<_> = doors
            .iter()
            .filter_map(|door| door.get("address")?.as_str())
            .map(str::to_owned)
            .collect();
        let mut doors = doors.iter_mut();
        let Some(door) = doors.find(|door| is(door, "address", address)) else {
            let error = anyhow!("there is no door {address}");
            let known = match known.as_slice() {
                [] => default_door().unwrap_or_default(),
                known => known.join(", "),
            };
            return Err(Failure::new(Exit::Failed, error).hint(format!("the doors are: {known}")));
        };
        let mut names = names(door);
        let was_open = !door.contains_key("callers");
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
            set(door, "callers", names.into_iter().collect::<Array>().into());
        }
        Ok(was_open)
    }

    /// Puts hashes in the place of all keys that a caller has.
    pub(super) fn replace_hashes(&mut self, name: &str, hashes: &[KeyHash]) -> Result<(), Failure> {
        let mut callers = tables_mut(&mut self.document, "caller")?.iter_mut();
        if let Some(caller) = callers.find(|caller| is(caller, "name", name)) {
            caller.remove("key");
            set(caller, "hashes", listed(hashes));
        }
        Ok(())
    }

    /// Takes a caller out, and its name out of every door; returns those doors.
    pub(super) fn remove(&mut self, name: &str) -> Result<Vec<String>, Failure> {
        tables_mut(&mut self.document, "caller")?.retain(|caller| !is(caller, "name", name));
        if tables(&self.document, "caller")?.is_some_and(ArrayOfTables::is_empty) {
            self.document.remove("caller");
        }
        let mut left = Vec::new();
        if tables(&self.document, "door")?.is_none() {
            return Ok(left);
        }
        for door in tables_mut(&mut self.document, "door")?.iter_mut() {
            let mut names = names(door);
            if !names.iter().any(|known| known == name) {
                continue;
            }
            let address = door.get("address").and_then(Item::as_str);
            let address = address.unwrap_or_default().to_owned();
            names.retain(|known| known != name);
            if names.is_empty() {
                // Without the key the door would let in everybody; that is for a person to say.
                let error = anyhow!("`{name}` is the only caller of the door {address}");
                return Err(Failure::new(Exit::Failed, error).hint(format!(
                    "add another first (`wise-auth-proxy caller add NAME --door {address}`), or take \
                     the door out by hand"
                )));
            }
            set(door, "callers", names.into_iter().collect::<Array>().into());
            left.push(address);
        }
        Ok(left)
    }
}

/// Tables of one kind; `None`: there are none.
fn tables<'a>(document: &'a DocumentMut, key: &str) -> Result<Option<&'a ArrayOfTables>, Failure> {
    match document.get(key) {
        None => Ok(None),
        Some(Item::ArrayOfTables(tables)) => Ok(Some(tables)),
        Some(_) => Err(in_one_line(key)),
    }
}

fn tables_mut<'a>(
    document: &'a mut DocumentMut,
    key: &str,
) -> Result<&'a mut ArrayOfTables, Failure> {
    if !document.contains_key(key) {
        document.insert(key, Item::ArrayOfTables(ArrayOfTables::new()));
    }
    let tables = document.get_mut(key).and_then(Item::as_array_of_tables_mut);
    tables.ok_or_else(|| in_one_line(key))
}

/// A person's own way to write it, and left to them.
fn in_one_line(key: &str) -> Failure {
    let error = anyhow!("the file has `{key} = […]` in one line");
    Failure::new(Exit::Failed, error).hint(format!("write it as [[{key}]] tables, and try again"))
}

fn is(table: &Table, key: &str, wanted: &str) -> bool {
    table.get(key).and_then(Item::as_str) == Some(wanted)
}

/// Names of a door's callers: a list, or one text with commas.
fn names(door: &Table) -> Vec<String> {
    match door.get("callers").and_then(Item::as_value) {
        Some(Value::Array(names)) => {
            let names = names.iter().filter_map(Value::as_str);
            names.map(str::to_owned).collect()
        }
        Some(Value::String(names)) => {
            let names = names.value().split(',').map(str::trim);
            names.map(str::to_owned).collect()
        }
        Some(_) | None => Vec::new(),
    }
}

fn value(text: &str) -> Item {
    Item::Value(text.into())
}

/// One hash in one line, several each in a line of its own.
fn listed(hashes: &[KeyHash]) -> Value {
    let mut list: Array = hashes.iter().map(ToString::to_string).collect();
    if hashes.len() > 1 {
        for item in list.iter_mut() {
            item.decor_mut().set_prefix("\n    ");
        }
        list.set_trailing("\n");
        list.set_trailing_comma(true);
    }
    list.into()
}

/// Address of the door that is there without a word in the file.
fn default_door() -> Option<String> {
    let defaults: DocumentMut = DEFAULTS.parse().ok()?;
    let doors = defaults.get("door")?.as_array_of_tables()?;
    let address = doors.get(0)?.get("address")?.as_str()?;
    Some(address.to_owned())
}
