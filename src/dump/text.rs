//! A dump as text, and as JSON.

use super::{Dump, GreenletDump, GreenletState, HubAnswer, HubDump};
use crate::statistics::{HubStatistics, Runner};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::panic::Location;
use std::time::Duration;

impl fmt::Display for Dump {
    /// A block for each hub, a line for each greenlet.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hubs.iter().try_for_each(|hub| write!(f, "{hub}"))
    }
}

impl fmt::Display for HubDump {
    /// A line for the hub and one for each greenlet, those that another one has spawned under it.
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
        self.lines(|depth, greenlet, under| {
            write!(f, "{:indent$}", "", indent = 2 + 2 * depth)?;
            greenlet.line(f, under)
        })
    }
}

impl HubDump {
    /// Calls `line` with each greenlet and how deep it lies, in the order of the tree; `under`:
    /// its parent's line is above it. Not by recursion: a chain of parents may be long.
    fn lines(
        &self,
        mut line: impl FnMut(usize, &GreenletDump, bool) -> fmt::Result,
    ) -> fmt::Result {
        let mut children: BTreeMap<u64, Vec<&GreenletDump>> = BTreeMap::new();
        let alive: BTreeSet<u64> = self.greenlets.iter().map(|g| g.id).collect();
        for greenlet in &self.greenlets {
            // The root's stand beside it.
            let parent = alive.get(&greenlet.parent).copied().unwrap_or(0);
            children.entry(parent).or_default().push(greenlet);
        }
        let mut next: Vec<(usize, &GreenletDump)> = Vec::new();
        let mut push = |next: &mut Vec<_>, depth, id| {
            for greenlet in children.remove(&id).unwrap_or_default().into_iter().rev() {
                next.push((depth, greenlet));
            }
        };
        push(&mut next, 0, 0);
        while let Some((depth, greenlet)) = next.pop() {
            line(depth, greenlet, depth > 0)?;
            if greenlet.id != 0 {
                push(&mut next, depth + 1, greenlet.id);
            }
        }
        Ok(())
    }
}

impl GreenletDump {
    fn line(&self, f: &mut fmt::Formatter<'_>, under: bool) -> fmt::Result {
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
        if self.parent != 0 && !under {
            write!(f, " by #{}", self.parent)?;
        }
        if let Some(scope) = self.scope {
            write!(f, " in the scope at {scope}")?;
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
    /// (`operation`, `place`, `since`). Greenlets are a flat array: the tree is in `parent`.
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
