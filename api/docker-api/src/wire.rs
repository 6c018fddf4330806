use serde::{Deserialize, Deserializer, Serialize};

/// Declares structs that read as Go reads them: every field optional, `null` the same as absent, names in PascalCase
/// unless a field says otherwise.
macro_rules! wire {
    ($($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident : $type:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, rename_all = "PascalCase")]
        #[allow(missing_docs, reason = "the fields are the Engine API's own, which its reference describes")]
        pub struct $name {
            $($(#[$field_meta])* #[serde(deserialize_with = "crate::wire::null_as_default")] pub $field: $type,)*
        }
    )*};
}

/// The empty object `{}` that Go's `map[string]struct{}` writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

pub(crate) fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// For `skip_serializing_if`: Go's `omitempty`.
pub(crate) fn is_empty<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A list of words that clients may also write as one string.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a list of strings or a string")]
enum Words {
    One(String),
    Many(Vec<String>),
}

/// Go's `strslice`: `"sh"` is read as `["sh"]`.
pub(crate) fn words<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<String>>, D::Error> {
    Ok(Option::<Words>::deserialize(from)?.map(|words| match words {
        Words::One(word) => vec![word],
        Words::Many(words) => words,
    }))
}
