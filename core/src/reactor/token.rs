//! What a report of the system refers to.
//!
//! The low three bits of a token are its kind. A registration's token is its address, whose low
//! bits are zero; so the reactor finds it without a look-up. A watch's token is an index with a
//! generation: a watch belongs to a foreign owner, who may close its descriptor behind our back, and
//! then a report can come long after the watch is gone. A stale generation is harmless, a stale
//! address would not be.

/// The low bits that tell the kind.
const KIND: u64 = 7;
const REGISTRATION: u64 = 0;
const BELL_KIND: u64 = 1;
const ALARM_KIND: u64 = 2;
const WATCH_KIND: u64 = 3;

/// Bits for a watch's index; the generation has what is left of a `usize`, which is what a token
/// may be where mio passes it on.
const INDEX_BITS: u32 = if usize::BITS >= 64 { 29 } else { 18 };
const GENERATION_BITS: u32 = usize::BITS - INDEX_BITS - 3;

pub(crate) const BELL: u64 = BELL_KIND;
pub(crate) const ALARM: u64 = ALARM_KIND;
pub(crate) const MAX_WATCHES: usize = 1 << INDEX_BITS;

/// Names a watch, and is never reused for another one while anything may refer to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct WatchKey {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl WatchKey {
    pub(crate) const FIRST_GENERATION: u32 = 0;

    pub(crate) fn next_generation(generation: u32) -> u32 {
        let mask = ((1u64 << GENERATION_BITS) - 1) as u32;
        generation.wrapping_add(1) & mask
    }

    pub(crate) fn token(self) -> u64 {
        (u64::from(self.generation) << (INDEX_BITS + 3)) | (u64::from(self.index) << 3) | WATCH_KIND
    }
}

/// A token, read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Token {
    /// The address of a registration.
    Registration(usize),
    Bell,
    Alarm,
    Watch(WatchKey),
}

impl Token {
    pub(crate) fn of(token: u64) -> Option<Token> {
        match token & KIND {
            REGISTRATION => Some(Token::Registration(token as usize)),
            BELL_KIND => Some(Token::Bell),
            ALARM_KIND => Some(Token::Alarm),
            WATCH_KIND => Some(Token::Watch(WatchKey {
                index: ((token >> 3) & (MAX_WATCHES as u64 - 1)) as u32,
                generation: (token >> (INDEX_BITS + 3)) as u32,
            })),
            _ => None,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_watch_key_survives_the_journey() {
        let last = WatchKey {
            index: MAX_WATCHES as u32 - 1,
            generation: u32::MAX,
        };
        for key in [
            WatchKey {
                index: 0,
                generation: 0,
            },
            last,
        ] {
            assert_eq!(Token::of(key.token()), Some(Token::Watch(key)));
        }
        assert_eq!(WatchKey::next_generation(u32::MAX), 0);
    }

    #[test]
    fn kinds_do_not_mix() {
        assert_eq!(Token::of(BELL), Some(Token::Bell));
        assert_eq!(Token::of(ALARM), Some(Token::Alarm));
        assert_eq!(Token::of(0x1000), Some(Token::Registration(0x1000)));
        assert_eq!(Token::of(7), None);
    }
}
