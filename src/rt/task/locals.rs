//! The values of a task's [`Local`](crate::Local)s, by the local's key.
//!
//! Keys are small distinct numbers, given out one after the other, so they are their own hashes:
//! a table of 2^n slots, a key's home is given by its last n bits, and who finds its home taken
//! goes to the next free slot. A program with few locals has no collision at all. A greenlet
//! without values has no table; a table stays with its record.
//!
//! No user code runs while the table is borrowed. A value is shared (`Rc`) only while it is lent,
//! so its count is the borrow count.

use std::any::Any;
use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Makes a copy of a value.
pub(crate) type Copying = fn(&dyn Any) -> Rc<dyn Any>;

/// A local's value.
#[derive(Clone)]
pub(crate) struct Value {
    pub(crate) value: Rc<dyn Any>,
    /// How a new greenlet gets its own, if it inherits.
    pub(crate) copying: Option<Copying>,
}

/// A value is being used, or copied.
pub(crate) struct Lent;

/// Set once a value was there to be inherited; so nobody looks before.
static INHERITS: AtomicBool = AtomicBool::new(false);

/// What a new greenlet inherits.
#[derive(Default)]
pub(crate) struct Legacy(Vec<(usize, Value)>);

impl Legacy {
    /// Whether there can be any.
    #[inline]
    pub(crate) fn exists() -> bool {
        // Relaxed: who has set a value has set this on its own thread.
        INHERITS.load(Ordering::Relaxed)
    }

    /// Makes the copies, by the program's own code.
    pub(crate) fn copied(mut self) -> Self {
        for (_, value) in &mut self.0 {
            if let Some(copying) = value.copying {
                value.value = copying(&*value.value);
            }
        }
        self
    }
}

/// See the module.
#[derive(Default)]
pub(crate) struct Locals(OnceCell<Box<RefCell<Table>>>);

impl Locals {
    #[inline(always)]
    pub(crate) fn get(&self, key: usize) -> Option<Rc<dyn Any>> {
        let table = self.0.get()?.borrow();
        Some(table.find(key)?.value.clone())
    }

    /// Has `f` change the value in its place, if there is one. The table is borrowed: `f` is not
    /// the program's code.
    pub(crate) fn change<R>(
        &self,
        key: usize,
        f: impl FnOnce(&mut dyn Any) -> R,
    ) -> Result<Option<R>, Lent> {
        let Some(table) = self.0.get() else {
            return Ok(None);
        };
        match table.borrow_mut().find_mut(key) {
            Some(value) => Rc::get_mut(&mut value.value).map(f).map(Some).ok_or(Lent),
            None => Ok(None),
        }
    }

    /// Puts the value there, and returns what was.
    pub(crate) fn insert(&self, key: usize, value: Value) -> Option<Value> {
        if value.copying.is_some() {
            INHERITS.store(true, Ordering::Relaxed);
        }
        let table = self.0.get_or_init(Box::default);
        table.borrow_mut().insert(key, value)
    }

    pub(crate) fn remove(&self, key: usize) -> Option<Value> {
        self.0.get()?.borrow_mut().remove(key)
    }

    /// What a new greenlet inherits, lent and still to be copied; in order of the keys, so
    /// that the copies are always made in the same order.
    #[cold]
    pub(crate) fn legacy(&self) -> Legacy {
        let Some(table) = self.0.get() else {
            return Legacy::default();
        };
        let table = table.borrow();
        let all = table.slots.iter().flatten();
        let inherited = all.filter(|(_, value)| value.copying.is_some());
        let mut all: Vec<_> = inherited.cloned().collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        Legacy(all)
    }

    /// The values of a greenlet that has none yet.
    #[cold]
    pub(crate) fn inherit(&self, legacy: Legacy) {
        for (key, value) in legacy.0 {
            self.insert(key, value);
        }
    }

    /// Takes one value out, any; its destructor may add others.
    #[inline]
    pub(crate) fn pop(&self) -> Option<Value> {
        self.0.get()?.borrow_mut().pop()
    }

    fn len(&self) -> usize {
        self.0.get().map_or(0, |table| table.borrow().len)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl std::fmt::Debug for Locals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Locals").field(&self.len()).finish()
    }
}

/// Values by key: open addressing with linear probing.
#[derive(Default)]
struct Table {
    /// A power of two of them, or none; at least a quarter is free, so that a search ends.
    slots: Vec<Option<(usize, Value)>>,
    len: usize,
}

impl Table {
    /// The slots for a key, in the order in which they are tried.
    fn places(&self, key: usize) -> impl Iterator<Item = usize> + use<> {
        let mask = self.slots.len().wrapping_sub(1);
        (key..).map(move |at| at & mask)
    }

    #[inline(always)]
    fn find(&self, key: usize) -> Option<&Value> {
        let home = self.slots.len().wrapping_sub(1) & key;
        match self.slots.get(home)?.as_ref()? {
            (found, value) if *found == key => Some(value),
            _ => self.find_elsewhere(key),
        }
    }

    #[cold]
    fn find_elsewhere(&self, key: usize) -> Option<&Value> {
        let at = self.place_of(key)?;
        self.slots[at].as_ref().map(|(_, value)| value)
    }

    fn find_mut(&mut self, key: usize) -> Option<&mut Value> {
        let at = self.place_of(key)?;
        self.slots[at].as_mut().map(|(_, value)| value)
    }

    /// Where the key is.
    fn place_of(&self, key: usize) -> Option<usize> {
        for at in self.places(key) {
            if self.slots.get(at)?.as_ref()?.0 == key {
                return Some(at);
            }
        }
        None
    }

    fn insert(&mut self, key: usize, value: Value) -> Option<Value> {
        if let Some(at) = self.place_of(key) {
            let old = self.slots[at].replace((key, value));
            return old.map(|(_, value)| value);
        }
        self.len += 1;
        if self.len * 4 > self.slots.len() * 3 {
            let slots = (self.slots.len() * 2).max(4);
            let old = std::mem::replace(&mut self.slots, vec![None; slots]);
            old.into_iter().flatten().for_each(|entry| self.put(entry));
        }
        self.put((key, value));
        None
    }

    /// Puts an entry, whose key is not there, into the first free slot for it.
    fn put(&mut self, entry: (usize, Value)) {
        let mut places = self.places(entry.0);
        let free = places.find(|&at| self.slots[at].is_none());
        self.slots[free.expect("a quarter is free")] = Some(entry);
    }

    fn remove(&mut self, key: usize) -> Option<Value> {
        let removed = self.place_of(key)?;
        let (_, value) = self.slots[removed].take()?;
        self.len -= 1;
        // Those behind it, up to the next gap, may be there because it was in their way.
        for at in self.places(removed + 1) {
            let Some(entry) = self.slots[at].take() else {
                break;
            };
            self.put(entry);
        }
        Some(value)
    }

    fn pop(&mut self) -> Option<Value> {
        if self.len == 0 {
            return None;
        }
        let (key, _) = self.slots.iter().flatten().next()?;
        self.remove(*key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};
    use std::collections::BTreeMap;

    impl Table {
        /// Panics unless each key is found from its home on without a gap, and a quarter is free.
        fn check(&self) {
            let slots = self.slots.len();
            assert!(slots == 0 || slots.is_power_of_two());
            assert_eq!(self.slots.iter().flatten().count(), self.len);
            assert!(self.len * 4 <= slots * 3);
            for (at, entry) in self.slots.iter().enumerate() {
                let Some((key, _)) = entry else { continue };
                let mut places = self.places(*key).take_while(|&place| place != at);
                assert!(places.all(|place| self.slots[place].is_some()));
            }
        }
    }

    fn held(n: u32) -> Value {
        Value {
            value: Rc::new(n),
            copying: None,
        }
    }

    fn number(value: &dyn Any) -> u32 {
        *value.downcast_ref().unwrap()
    }

    proptest! {
        /// Keys collide: several have the same last bits, and they meet at the table's end.
        #[test]
        fn a_table_is_a_map(script in vec((0..8, 1..40usize, any::<u32>()), 1..200)) {
            let (locals, mut map) = (Locals::default(), BTreeMap::new());
            for (operation, key, n) in script {
                let n = n << 6 | key as u32; // unlike all others'
                match operation {
                    0..=3 => {
                        let old = locals.insert(key, held(n));
                        prop_assert_eq!(old.map(|v| number(&*v.value)), map.insert(key, n));
                    }
                    4..=6 => {
                        let old = locals.remove(key);
                        prop_assert_eq!(old.map(|v| number(&*v.value)), map.remove(&key));
                    }
                    _ => {
                        let popped = locals.pop().map(|v| number(&*v.value));
                        prop_assert_eq!(popped.is_none(), map.is_empty());
                        let key = map.iter().find(|(_, n)| Some(**n) == popped).map(|(k, _)| *k);
                        key.map(|key| map.remove(&key));
                    }
                }
                if let Some(table) = locals.0.get() {
                    table.borrow().check();
                }
                prop_assert_eq!(locals.len(), map.len());
                for key in 1..40 {
                    let value = locals.get(key).map(|value| number(&*value));
                    prop_assert_eq!(value, map.get(&key).copied());
                }
            }
        }
    }
}
