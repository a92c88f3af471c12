//! The columns of a row, by name.

use std::borrow::Cow;

use super::table::Value;

/// The name of a column: most are part of the program, and are not copied.
pub(crate) type ColumnName = Cow<'static, str>;

/// The columns of a row in the order of their names. A row has some fifteen, so a sorted list is smaller and quicker than a tree.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Columns(Vec<(ColumnName, Value)>);

impl Columns {
    /// Where a column is, or where it would be.
    fn place(&self, name: &str) -> Result<usize, usize> {
        // Columns mostly come in order, as when a row is copied.
        match self.0.last() {
            Some((last, _)) if **last < *name => Err(self.0.len()),
            _ => self.0.binary_search_by(|(other, _)| (**other).cmp(name)),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        // Most names differ in their length, which is quicker to see than their order.
        self.0.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    pub(crate) fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Sets a column, and returns what it was.
    pub(crate) fn insert(&mut self, name: impl Into<ColumnName>, value: Value) -> Option<Value> {
        let name = name.into();
        match self.place(&name) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                self.0.insert(at, (name, value));
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Value> {
        self.place(name).ok().map(|at| self.0.remove(at).1)
    }

    #[cfg(test)]
    pub(crate) fn retain(&mut self, mut stays: impl FnMut(&str, &Value) -> bool) {
        self.0.retain(|(name, value)| stays(name, value));
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them but those that are null, as an insert stores them.
    pub(crate) fn without_nulls(&self) -> Self {
        let mut set = Vec::with_capacity(self.0.len());
        set.extend(self.0.iter().filter(|(_, value)| *value != Value::Null).cloned());
        Self(set)
    }

    /// Sets all of these but those that are null, as a merge does.
    pub(crate) fn merge(&mut self, changes: &Self) {
        self.extend(changes.0.iter().filter(|(_, value)| *value != Value::Null).cloned());
    }

    /// Those of them whose names are wanted.
    pub(crate) fn only(&self, wanted: impl Fn(&str) -> bool) -> Self {
        Self(self.0.iter().filter(|(name, _)| wanted(name)).cloned().collect())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(name, _)| name)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Value> {
        self.0.iter().map(|(_, value)| value)
    }
}

impl IntoIterator for Columns {
    type Item = (ColumnName, Value);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl FromIterator<(ColumnName, Value)> for Columns {
    fn from_iter<T: IntoIterator<Item = (ColumnName, Value)>>(columns: T) -> Self {
        let columns = columns.into_iter();
        let mut all = Self(Vec::with_capacity(columns.size_hint().0));
        all.extend(columns);
        all
    }
}

impl Extend<(ColumnName, Value)> for Columns {
    fn extend<T: IntoIterator<Item = (ColumnName, Value)>>(&mut self, columns: T) {
        for (name, value) in columns {
            self.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_do_what_a_map_does(acts in prop::collection::vec((any::<bool>(), "[a-d]{0,2}", any::<i32>()), 0..40)) {
            let (mut columns, mut map) = (Columns::default(), BTreeMap::new());
            for (sets, name, number) in acts {
                if sets {
                    let value = Value::I32(number);
                    prop_assert_eq!(columns.insert(name.clone(), value.clone()), map.insert(name, value));
                } else {
                    prop_assert_eq!(columns.contains_key(&name), map.contains_key(&name));
                    prop_assert_eq!(columns.get(&name), map.get(&name));
                    prop_assert_eq!(columns.remove(&name), map.remove(&name));
                }
            }
            let all: Vec<_> = columns.into_iter().map(|(name, value)| (name.into_owned(), value)).collect();
            prop_assert_eq!(all, map.into_iter().collect::<Vec<_>>());
        }
    }
}
