//! A dump as text, and as JSON.

use super::{Dump, GreenletDump, GreenletState, GroupDump, HubAnswer, HubDump};
use crate::statistics::{HubStatistics, Runner};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::panic::Location;
use std::time::Duration;

impl fmt::Display for Dump {
    /// A block for each hub, a line for each group and for each greenlet.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hubs.iter().try_for_each(|hub| write!(f, "{hub}"))
    }
}

impl fmt::Display for HubDump {
    /// A line for the hub and one for each greenlet: its members under a group, and under a
    /// greenlet those in no group that it has spawned.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hub of thread '{}': ", self.thread)?;
        match &self.answer {
            HubAnswer::Given => {}
            HubAnswer::Missing { limit, runner } => {
                write!(f, "does not answer within {limit:?}")?;
                if let Some(runner) = runner {
                    write!(f, "; it runs {runner}")?;
                }
            }
            HubAnswer::Ended => f.write_str("it has ended")?,
            HubAnswer::NotAsked => f.write_str("not asked")?,
        }
        if let Some(n) = &self.statistics {
            write!(
                f,
                "{} greenlets, {} ready, {} timers, {} switches",
                n.greenlets, n.ready, n.timers, n.switches
            )?;
        }
        writeln!(f)?;
        self.lines(|item, depth, under| {
            write!(f, "{:indent$}", "", indent = 2 + 2 * depth)?;
            match item {
                Item::Group(group) => group.line(f),
                Item::Greenlet(greenlet) => greenlet.line(f, under),
            }
        })
    }
}

/// What has a line in a hub's tree.
#[derive(Clone, Copy)]
enum Item<'a> {
    Group(&'a GroupDump),
    Greenlet(&'a GreenletDump),
}

/// What its line stands under.
enum Under<'a> {
    Hub,
    /// The greenlet that spawned it.
    Parent,
    /// The first of its groups; the numbers of the others.
    Group(&'a [u64]),
}

/// What lines stand under: the hub (0) or a greenlet by its id, or a group by its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Above {
    Greenlet(u64),
    Group(u64),
}

impl HubDump {
    /// Calls `line` with each item of the tree, in order, and how deep it lies. Not by recursion: a
    /// chain of parents may be long.
    fn lines(
        &self,
        mut line: impl FnMut(Item<'_>, usize, Under<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let mut groups: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for group in &self.groups {
            for &member in &group.members {
                groups.entry(member).or_default().push(group.number);
            }
        }
        let mut below: BTreeMap<Above, Vec<&GreenletDump>> = BTreeMap::new();
        let alive: BTreeSet<u64> = self.greenlets.iter().map(|g| g.id).collect();
        for greenlet in &self.greenlets {
            let above = match groups.get(&greenlet.id) {
                Some(groups) => Above::Group(groups[0]),
                // The root's stand beside it.
                None => Above::Greenlet(alive.get(&greenlet.parent).copied().unwrap_or(0)),
            };
            below.entry(above).or_default().push(greenlet);
        }
        // Those that come next, the last one first.
        let mut next: Vec<(usize, Item)> = Vec::new();
        next.extend(
            self.groups
                .iter()
                .rev()
                .map(|group| (0, Item::Group(group))),
        );
        let mut push = |next: &mut Vec<_>, above, depth| {
            let those = below.remove(&above).unwrap_or_default();
            next.extend(those.into_iter().rev().map(|g| (depth, Item::Greenlet(g))));
        };
        push(&mut next, Above::Greenlet(0), 0);
        while let Some((depth, item)) = next.pop() {
            let under = match item {
                Item::Group(_) => Under::Hub,
                Item::Greenlet(greenlet) => match groups.get(&greenlet.id) {
                    Some(groups) => Under::Group(&groups[1..]),
                    None if depth == 0 => Under::Hub,
                    None => Under::Parent,
                },
            };
            line(item, depth, under)?;
            match item {
                Item::Group(group) => push(&mut next, Above::Group(group.number), 1),
                Item::Greenlet(greenlet) if greenlet.id == 0 => {}
                Item::Greenlet(greenlet) => {
                    push(&mut next, Above::Greenlet(greenlet.id), depth + 1)
                }
            }
        }
        Ok(())
    }
}

impl GroupDump {
    fn line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.size.is_some() { "pool" } else { "group" };
        write!(f, "{kind} {}, made at {}: ", self.number, self.made_at)?;
        match (self.members.len(), self.size) {
            (n, Some(size)) => writeln!(f, "{n} of {size} members"),
            (1, None) => writeln!(f, "1 member"),
            (n, None) => writeln!(f, "{n} members"),
        }
    }
}

impl GreenletDump {
    fn line(&self, f: &mut fmt::Formatter<'_>, under: Under<'_>) -> fmt::Result {
        match (self.id, &self.name) {
            (0, _) => f.write_str("root")?,
            (id, None) => write!(f, "#{id}")?,
            (id, Some(name)) => write!(f, "#{id} '{name}'")?,
        }
        match &self.state {
            GreenletState::Running => f.write_str(": running")?,
            GreenletState::Ready => f.write_str(": ready")?,
            GreenletState::Unstarted => f.write_str(": not started")?,
            GreenletState::Waiting {
                operation,
                place,
                since,
            } => write!(f, ": waits in {operation} at {place} for {since:?}")?,
        }
        if let Some(due) = self.due_in {
            write!(f, ", due in {due:?}")?;
        }
        if self.killed {
            f.write_str(", killed")?;
        }
        if let Some(place) = self.spawned_at {
            write!(f, "; spawned at {place}")?;
        }
        if self.parent != 0 && !matches!(under, Under::Parent) {
            write!(f, " by #{}", self.parent)?;
        }
        if let Some(scope) = self.scope {
            write!(f, " in the scope at {scope}")?;
        }
        if let Under::Group(others) = under {
            for other in others {
                write!(f, ", also in group {other}")?;
            }
        }
        if let Some(age) = self.age {
            write!(f, ", {age:?} ago")?;
        }
        if let (Some(touched), Some(size)) = (self.stack_touched, self.stack_size) {
            write!(f, "; stack {} of {} KiB", touched / 1024, size / 1024)?;
        }
        writeln!(f)
    }
}

// ---- JSON ----

/// An object or an array that is being written. Ends with `end`.
struct Json<'a> {
    out: &'a mut String,
    end: char,
    first: bool,
}

impl<'a> Json<'a> {
    fn object(out: &'a mut String) -> Self {
        out.push('{');
        Json {
            out,
            end: '}',
            first: true,
        }
    }

    fn array(out: &'a mut String) -> Self {
        out.push('[');
        Json {
            out,
            end: ']',
            first: true,
        }
    }

    fn end(self) {
        self.out.push(self.end);
    }

    /// Where the next element goes.
    fn element(&mut self) -> &mut String {
        if !std::mem::take(&mut self.first) {
            self.out.push(',');
        }
        self.out
    }

    /// Where the value of that key goes.
    fn key(&mut self, key: &str) -> &mut String {
        string(self.element(), key);
        self.out.push(':');
        self.out
    }

    fn string(&mut self, key: &str, value: Option<&str>) {
        match value {
            Some(value) => string(self.key(key), value),
            None => self.key(key).push_str("null"),
        }
    }

    fn place(&mut self, key: &str, place: Option<&Location<'_>>) {
        self.string(key, place.map(|place| place.to_string()).as_deref());
    }

    /// What prints as JSON does, by itself.
    fn plain(&mut self, key: &str, value: Option<impl fmt::Display>) {
        let out = self.key(key);
        let _ = match value {
            Some(value) => write!(out, "{value}"),
            None => write!(out, "null"),
        };
    }

    /// Seconds, exactly.
    fn seconds(&mut self, key: &str, value: Option<Duration>) {
        let seconds = |d: Duration| format!("{}.{:09}", d.as_secs(), d.subsec_nanos());
        self.plain(key, value.map(seconds));
    }
}

/// A string as RFC 8259 has it: what must be escaped is; all else stands as it is.
fn string(out: &mut String, value: &str) {
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

impl Dump {
    /// The dump as JSON, in one line.
    ///
    /// An object with the array `hubs`. Keys are the names of the fields; what is not known is
    /// `null`; durations are seconds; places are strings as `src/main.rs:12:5`. A state or an
    /// answer is its name in small letters, and the fields of a wait stand beside it
    /// (`operation`, `place`, `since`). Greenlets are a flat array: the tree is in `parent`, and in
    /// the `members` of each of the `groups`.
    ///
    /// # Examples
    ///
    /// ```
    /// let hub = greenlet::HubHandle::current();
    /// let json = greenlet::dump().to_json();
    /// assert!(json.contains(r#""id":0,"name":null,"state":"running""#));
    /// ```
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        let mut object = Json::object(&mut out);
        let mut hubs = Json::array(object.key("hubs"));
        for hub in &self.hubs {
            hub.write(hubs.element());
        }
        hubs.end();
        object.end();
        out
    }
}

impl HubDump {
    fn write(&self, out: &mut String) {
        let mut hub = Json::object(out);
        hub.string("thread", Some(&self.thread));
        let (answer, limit, runner) = match &self.answer {
            HubAnswer::Given => ("given", None, None),
            HubAnswer::Missing { limit, runner } => ("missing", Some(*limit), runner.as_ref()),
            HubAnswer::Ended => ("ended", None, None),
            HubAnswer::NotAsked => ("not asked", None, None),
        };
        hub.string("answer", Some(answer));
        hub.seconds("limit", limit);
        write_runner(hub.key("runner"), runner);
        match &self.statistics {
            Some(numbers) => write_statistics(hub.key("statistics"), numbers),
            None => hub.string("statistics", None),
        }
        let mut greenlets = Json::array(hub.key("greenlets"));
        for greenlet in &self.greenlets {
            greenlet.write(greenlets.element());
        }
        greenlets.end();
        let mut groups = Json::array(hub.key("groups"));
        for group in &self.groups {
            group.write(groups.element());
        }
        groups.end();
        hub.end();
    }
}

fn write_runner(out: &mut String, runner: Option<&Runner>) {
    let Some(runner) = runner else {
        return out.push_str("null");
    };
    let mut object = Json::object(out);
    object.plain("id", Some(runner.id));
    object.string("name", runner.name.as_deref());
    object.place("spawned_at", runner.spawned_at);
    object.end();
}

fn write_statistics(out: &mut String, numbers: &HubStatistics) {
    let mut object = Json::object(out);
    object.plain("greenlets", Some(numbers.greenlets));
    object.plain("ready", Some(numbers.ready));
    object.plain("timers", Some(numbers.timers));
    object.plain("switches", Some(numbers.switches));
    object.plain("turns", Some(numbers.turns));
    object.plain("wakes_from_outside", Some(numbers.wakes_from_outside));
    let out = object.key("longest_slice");
    match &numbers.longest_slice {
        None => out.push_str("null"),
        Some(slice) => {
            let mut longest = Json::object(out);
            write_runner(longest.key("runner"), Some(&slice.runner));
            longest.seconds("length", Some(slice.length));
            longest.end();
        }
    }
    object.end();
}

impl GroupDump {
    fn write(&self, out: &mut String) {
        let mut object = Json::object(out);
        object.plain("number", Some(self.number));
        object.place("made_at", Some(self.made_at));
        object.plain("size", self.size);
        let mut members = Json::array(object.key("members"));
        for member in &self.members {
            let _ = write!(members.element(), "{member}");
        }
        members.end();
        object.end();
    }
}

impl GreenletDump {
    fn write(&self, out: &mut String) {
        let mut object = Json::object(out);
        object.plain("id", Some(self.id));
        object.string("name", self.name.as_deref());
        let (state, wait) = match &self.state {
            GreenletState::Running => ("running", None),
            GreenletState::Ready => ("ready", None),
            GreenletState::Unstarted => ("unstarted", None),
            GreenletState::Waiting {
                operation,
                place,
                since,
            } => ("waiting", Some((*operation, *place, *since))),
        };
        object.string("state", Some(state));
        object.string("operation", wait.map(|wait| wait.0));
        object.place("place", wait.map(|wait| wait.1));
        object.seconds("since", wait.map(|wait| wait.2));
        object.plain("killed", Some(self.killed));
        object.place("spawned_at", self.spawned_at);
        object.plain("parent", Some(self.parent));
        object.place("scope", self.scope);
        object.seconds("age", self.age);
        object.seconds("due_in", self.due_in);
        object.plain("stack_size", self.stack_size);
        object.plain("stack_touched", self.stack_touched);
        object.end();
    }
}
