//! The properties of a packet.

use alloc::borrow::Cow;
use core::fmt;

use super::fields::Fields;
use super::property::{Found, Place, Property};
use super::rule::{Checked, Rule};

/// The properties of a packet or a will, in their order, as they are on the wire: so many bytes, however many there are. MQTT
/// 3.1.1 has none.
///
/// ```
/// use keepbeat_core::wire::mqtt::{Properties, Property};
///
/// let properties = Properties::NONE.with(&Property::SessionExpiryInterval(3600))?;
/// for property in properties.iter() {
///     match property {
///         Property::SessionExpiryInterval(seconds) => assert_eq!(seconds, 3600),
///         _ => {}
///     }
/// }
/// # Ok::<(), &keepbeat_core::wire::mqtt::Rule>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties<'a>(Cow<'a, [u8]>);

impl<'a> Properties<'a> {
    /// None.
    pub const NONE: Self = Self(Cow::Borrowed(&[]));

    /// What came, to be checked.
    pub(super) const fn unchecked(bytes: &'a [u8]) -> Self {
        Self(Cow::Borrowed(bytes))
    }

    /// One more, at the end. Whether it belongs into a packet is seen when that is written.
    ///
    /// # Errors
    /// The rule that it breaks: it is there already and may not be twice, or its value is out of range.
    pub fn with(self, property: &Property<'_>) -> Result<Self, &'static Rule> {
        let mut bytes = self.0.into_owned();
        property.write(&mut bytes)?;
        scan(&bytes, None)?;
        Ok(Self(Cow::Owned(bytes)))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = Property<'_>> {
        let mut fields = Fields::new(&self.0);
        core::iter::from_fn(move || Property::read(&mut fields).ok())
    }

    /// The same, borrowed from these.
    #[must_use]
    pub fn borrowed(&self) -> Properties<'_> {
        Properties(Cow::Borrowed(&self.0))
    }

    /// The same, with a copy of what was borrowed.
    #[must_use]
    pub fn into_owned(self) -> Properties<'static> {
        Properties(Cow::Owned(self.0.into_owned()))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Checks them, and says which there are.
    #[inline]
    pub(super) fn check(&self, place: Place) -> Checked<Found> {
        if self.0.is_empty() { Ok(Found::default()) } else { scan(&self.0, Some(place)) }
    }
}

impl fmt::Debug for Properties<'_> {
    /// Leaves out authentication data, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.iter().map(|property| match property {
            Property::AuthenticationData(_) => Property::AuthenticationData(b"..."),
            property => property,
        });
        f.debug_list().entries(shown).finish()
    }
}

fn scan(bytes: &[u8], place: Option<Place>) -> Checked<Found> {
    let (mut fields, mut found) = (Fields::new(bytes), Found::default());
    while !fields.is_empty() {
        let property = Property::read(&mut fields)?;
        found.add(&property, place)?;
    }
    Ok(found)
}
