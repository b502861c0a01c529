//! What mostly is empty, and then takes no more room than a pointer.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::ops::Deref;

/// A collection that has memory, also for its own fields, from when something is put in until it is swept empty.
#[derive(Debug)]
pub(super) struct Seldom<T>(Option<Box<T>>);

/// A collection that can be empty.
pub(super) trait Collection: Default + 'static {
    const EMPTY: &'static Self;

    fn is_empty(&self) -> bool;
}

impl<T: Collection> Seldom<T> {
    /// To put something in.
    #[inline]
    pub(super) fn make(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }

    /// To change something in it; `None` if it is empty.
    #[inline]
    pub(super) fn there(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }

    /// Gives memory back if it is empty.
    pub(super) fn sweep(&mut self) {
        self.0.take_if(|there| there.is_empty());
    }
}

impl<T> Default for Seldom<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Collection> Deref for Seldom<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or(T::EMPTY)
    }
}

macro_rules! collections {
    ($($name:ident<$($item:ident),*>)*) => {$(
        impl<$($item: 'static),*> Collection for $name<$($item),*> {
            const EMPTY: &'static Self = &Self::new();

            fn is_empty(&self) -> bool {
                Self::is_empty(self)
            }
        }
    )*};
}

collections! { Vec<T> VecDeque<T> BTreeSet<T> BTreeMap<K, V> }
