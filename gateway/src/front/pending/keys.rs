use std::collections::HashMap;

/// Counts the requests that use each stored photo. A bad photo is deleted only if it was stored for these requests, when
/// the last of them ends.
#[derive(Debug, Default)]
pub struct KeyReferences {
    keys: HashMap<String, Use>,
}

#[derive(Debug, Default)]
struct Use {
    references: usize,
    /// Stored for one of these requests, and none of them needs it.
    disposable: bool,
}

/// What to do with a photo after a request has released it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// It is in use, existed before, or is needed.
    Keep,
    Delete,
}

impl KeyReferences {
    /// Counts a further request that uses this key.
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

    /// Records that the photo of this key was stored for a request that uses it now.
    pub fn stored(&mut self, key: &str) {
        if let Some(used) = self.keys.get_mut(key) {
            used.disposable = true;
        }
    }

    /// Releases the key for one request. The photo stays if one of them `needs` it.
    pub fn release(&mut self, key: &str, needs: bool) -> Released {
        let Some(used) = self.keys.get_mut(key) else {
            return Released::Keep;
        };
        used.references -= 1;
        used.disposable &= !needs;
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
    fn a_photo_that_existed_before_stays() {
        let mut keys = KeyReferences::default();
        keys.take(KEY);
        assert_eq!(keys.release(KEY, false), Released::Keep);
    }

    #[test]
    fn the_last_request_deletes() {
        let mut keys = KeyReferences::default();
        keys.take(KEY);
        keys.stored(KEY);
        keys.take(KEY);
        assert_eq!(keys.release(KEY, false), Released::Keep);
        assert_eq!(keys.release(KEY, false), Released::Delete);
    }

    #[test]
    fn a_photo_that_one_request_needs_stays() {
        let mut keys = KeyReferences::default();
        keys.take(KEY);
        keys.stored(KEY);
        keys.take(KEY);
        assert_eq!(keys.release(KEY, true), Released::Keep);
        assert_eq!(keys.release(KEY, false), Released::Keep);
        assert!(keys.is_empty());
    }
}
