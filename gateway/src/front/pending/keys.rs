use std::collections::HashMap;

/// How many requests use each stored photo, so that a photo found to be bad is deleted only when it was stored for
/// these requests and the last of them is done.
#[derive(Debug, Default)]
pub struct KeyReferences {
    keys: HashMap<String, Use>,
}

#[derive(Debug, Default)]
struct Use {
    references: usize,
    /// Stored for one of these requests, and none of them wants it kept.
    disposable: bool,
}

/// What remains to be done with a photo after a request let go of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// It stays: it is in use, was there before, or is wanted.
    Keep,
    Delete,
}

impl KeyReferences {
    /// Notes that one more request uses this key.
    pub fn take(&mut self, key: &str) {
        match self.keys.get_mut(key) {
            Some(used) => used.references += 1,
            None => {
                let first = Use {
                    references: 1,
                    disposable: false,
                };
                self.keys.insert(key.to_owned(), first);
            }
        }
    }

    /// Notes that the photo of this key was stored for a request that uses it now.
    pub fn stored(&mut self, key: &str) {
        if let Some(used) = self.keys.get_mut(key) {
            used.disposable = true;
        }
    }

    /// One request lets go of the key. Once one of them `wanted` the photo, it stays.
    pub fn release(&mut self, key: &str, wanted: bool) -> Released {
        let Some(used) = self.keys.get_mut(key) else {
            return Released::Keep;
        };
        used.references -= 1;
        used.disposable &= !wanted;
        if used.references > 0 {
            return Released::Keep;
        }
        let disposable = used.disposable;
        self.keys.remove(key);
        if disposable {
            Released::Delete
        } else {
            Released::Keep
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "photo.jpg";

    #[test]
    fn a_bad_photo_stored_here_is_deleted() {
        let mut keys = KeyReferences::default();
        keys.take(KEY);
        keys.stored(KEY);
        assert_eq!(keys.release(KEY, false), Released::Delete);
        assert!(keys.is_empty());
    }

    #[test]
    fn a_photo_that_was_there_before_stays() {
        let mut keys = KeyReferences::default();
        keys.take(KEY);
        assert_eq!(keys.release(KEY, false), Released::Keep);
    }

    #[test]
    fn the_last_user_deletes() {
        let mut keys = KeyReferences::default();
        keys.take(KEY);
        keys.stored(KEY);
        keys.take(KEY);
        assert_eq!(keys.release(KEY, false), Released::Keep);
        assert_eq!(keys.release(KEY, false), Released::Delete);
    }

    #[test]
    fn a_photo_that_anybody_wants_stays() {
        let mut keys = KeyReferences::default();
        keys.take(KEY);
        keys.stored(KEY);
        keys.take(KEY);
        assert_eq!(keys.release(KEY, true), Released::Keep);
        assert_eq!(keys.release(KEY, false), Released::Keep);
        assert!(keys.is_empty());
    }
}
