//! What others leave for a task to do, until it ends.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A box that its task empties. Who fills it wakes the task.
#[derive(Debug)]
pub(crate) struct Mailbox<T>(Mutex<Option<Vec<T>>>);

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self(Mutex::new(Some(Vec::new())))
    }
}

impl<T> Mailbox<T> {
    /// Leaves a letter.
    ///
    /// # Errors
    /// The letter, if the task has ended: nobody would ever read it.
    pub(crate) fn put(&self, letter: T) -> Result<(), T> {
        match &mut *self.lock() {
            Some(letters) => {
                letters.push(letter);
                Ok(())
            }
            None => Err(letter),
        }
    }

    /// Takes the letters, oldest first.
    pub(crate) fn take(&self) -> Vec<T> {
        self.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Takes the letters, and no more from now on.
    pub(crate) fn close(&self) -> Vec<T> {
        self.lock().take().unwrap_or_default()
    }

    /// Whether letters come back.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_none()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::Mailbox;

    #[test]
    fn a_letter_is_read_or_comes_back() {
        let mailbox = Mailbox::default();
        assert_eq!(mailbox.put(1), Ok(()));
        assert_eq!(mailbox.take(), [1]);
        assert_eq!(mailbox.put(2), Ok(()));
        assert!(!mailbox.is_closed());
        assert_eq!(mailbox.close(), [2]);
        assert!(mailbox.is_closed());
        assert_eq!(mailbox.put(3), Err(3));
        assert!(mailbox.take().is_empty());
    }
}
