//! What a report of the system refers to.
//!
//! The low three bits of a token are its kind. A registration and a watch are each named by an index
//! with a generation, since a report can come after what it refers to has ended: when it was fetched
//! a moment before, or long after if the descriptor was closed while a duplicate of it lives on. A
//! stale generation is harmless, a stale address would not be.

/// The low bits that tell the kind.
const KIND: u64 = 7;
const REGISTRATION: u64 = 0;
const BELL_KIND: u64 = 1;
const ALARM_KIND: u64 = 2;
const WATCH_KIND: u64 = 3;

/// Bits for an index; the generation has what is left of a `usize`, which is what a token
/// may be where mio passes it on.
const INDEX_BITS: u32 = if usize::BITS >= 64 { 29 } else { 18 };
const GENERATION_BITS: u32 = usize::BITS - INDEX_BITS - 3;

pub(crate) const BELL: u64 = BELL_KIND;
pub(crate) const ALARM: u64 = ALARM_KIND;
pub(crate) const MAX_INDICES: usize = 1 << INDEX_BITS;

/// Names a registration or a watch, and is not reused before its generations have gone round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl Key {
    pub(crate) const FIRST_GENERATION: u32 = 0;

    pub(crate) fn next_generation(generation: u32) -> u32 {
        let mask = ((1u64 << GENERATION_BITS) - 1) as u32;
        generation.wrapping_add(1) & mask
    }

    pub(crate) fn of_watch(self) -> u64 {
        self.token(WATCH_KIND)
    }

    pub(crate) fn of_registration(self) -> u64 {
        self.token(REGISTRATION)
    }

    fn token(self, kind: u64) -> u64 {
        (u64::from(self.generation) << (INDEX_BITS + 3)) | (u64::from(self.index) << 3) | kind
    }

    fn read(token: u64) -> Key {
        Key {
            index: ((token >> 3) & (MAX_INDICES as u64 - 1)) as u32,
            generation: (token >> (INDEX_BITS + 3)) as u32,
        }
    }
}

/// A token, read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Token {
    Registration(Key),
    Bell,
    Alarm,
    Watch(Key),
}

impl Token {
    pub(crate) fn of(token: u64) -> Option<Token> {
        match token & KIND {
            REGISTRATION => Some(Token::Registration(Key::read(token))),
            BELL_KIND => Some(Token::Bell),
            ALARM_KIND => Some(Token::Alarm),
            WATCH_KIND => Some(Token::Watch(Key::read(token))),
            _ => None,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_the_journey() {
        let last = Key {
            index: MAX_INDICES as u32 - 1,
            generation: u32::MAX,
        };
        for key in [
            Key {
                index: 0,
                generation: 0,
            },
            last,
        ] {
            assert_eq!(Token::of(key.of_watch()), Some(Token::Watch(key)));
            let token = key.of_registration();
            assert_eq!(Token::of(token), Some(Token::Registration(key)));
        }
        assert_eq!(Key::next_generation(u32::MAX), 0);
    }

    #[test]
    fn kinds_do_not_mix() {
        assert_eq!(Token::of(BELL), Some(Token::Bell));
        assert_eq!(Token::of(ALARM), Some(Token::Alarm));
        assert_eq!(Token::of(7), None);
    }
}
