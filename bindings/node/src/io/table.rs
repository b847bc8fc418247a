//! Handles by number: what JavaScript holds in place of a pointer.

use std::rc::Rc;

/// Names an entry of a [`Table`] for as long as it lives; never names its successor.
///
/// The low bits are the entry's index, the bits above them count how often the index was given out.
/// It is never negative, so that V8 keeps it as a small integer and negative numbers mean errors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Id(i32);

/// Room for a million handles in one environment; `lib/registry.js` knows this number.
const INDEX_BITS: u32 = 20;
const INDEX_MASK: i32 = (1 << INDEX_BITS) - 1;
/// V8's small integers have 31 bits where pointers are compressed; one is the sign.
const GENERATION_MASK: i32 = (1 << (30 - INDEX_BITS)) - 1;

impl Id {
    pub(crate) fn from_number(number: i32) -> Self {
        Self(number)
    }

    pub(crate) fn number(self) -> i32 {
        self.0
    }

    fn new(index: usize, generation: i32) -> Self {
        Self(index as i32 | (generation & GENERATION_MASK) << INDEX_BITS)
    }

    fn index(self) -> usize {
        (self.0 & INDEX_MASK) as usize
    }
}

struct Slot<T> {
    id: Id,
    entry: Option<Rc<T>>,
}

/// The entries of one environment.
pub(crate) struct Table<T> {
    slots: Vec<Slot<T>>,
    free: Vec<usize>,
}

impl<T> Table<T> {
    pub(crate) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Adds what `make` builds around its id. `None` when all ids are in use.
    pub(crate) fn insert(&mut self, make: impl FnOnce(Id) -> T) -> Option<Rc<T>> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() > INDEX_MASK as usize => return None,
            None => {
                self.slots.push(Slot {
                    id: Id::new(self.slots.len(), 0),
                    entry: None,
                });
                self.slots.len() - 1
            }
        };
        let slot = &mut self.slots[index];
        let entry = Rc::new(make(slot.id));
        slot.entry = Some(Rc::clone(&entry));
        Some(entry)
    }

    pub(crate) fn get(&self, id: Id) -> Option<Rc<T>> {
        let slot = self.slots.get(id.index())?;
        if slot.id == id {
            slot.entry.clone()
        } else {
            None
        }
    }

    /// Takes an entry out; its id names nothing from now on.
    pub(crate) fn remove(&mut self, id: Id) -> Option<Rc<T>> {
        let slot = self.slots.get_mut(id.index())?;
        if slot.id != id {
            return None;
        }
        let entry = slot.entry.take()?;
        slot.id = Id::new(id.index(), (id.0 >> INDEX_BITS) + 1);
        self.free.push(id.index());
        Some(entry)
    }

    /// Takes all entries out.
    pub(crate) fn drain(&mut self) -> Vec<Rc<T>> {
        let ids: Vec<Id> = self
            .slots
            .iter()
            .filter(|slot| slot.entry.is_some())
            .map(|slot| slot.id)
            .collect();
        ids.into_iter().filter_map(|id| self.remove(id)).collect()
    }
}
