//! The text of a filter and its evaluation mean the same: the text is read back by the grammar of OData and evaluated.

use proptest::prelude::*;

use super::*;
use crate::model::Timestamp;
use crate::storage::table::{Entity, Etag};

/// Reads `or` of `and` of comparisons and groups, with the precedence of OData.
struct Reader<'a>(&'a str);

impl Reader<'_> {
    fn or(&mut self) -> Filter {
        let mut parts = vec![self.and()];
        while self.eat(" or ") {
            parts.push(self.and());
        }
        Filter::Or(parts)
    }

    fn and(&mut self) -> Filter {
        let mut parts = vec![self.unit()];
        while self.eat(" and ") {
            parts.push(self.unit());
        }
        Filter::And(parts)
    }

    fn unit(&mut self) -> Filter {
        if self.eat("(") {
            let inner = self.or();
            assert!(self.eat(")"), "no end of the group at {:?}", self.0);
            return inner;
        }
        let (name, rest) = self.0.split_once(' ').unwrap();
        let (word, rest) = rest.split_once(' ').unwrap();
        self.0 = rest;
        let all = [Cmp::Eq, Cmp::Ne, Cmp::Lt, Cmp::Le, Cmp::Gt, Cmp::Ge];
        let cmp = all.into_iter().find(|cmp| cmp.to_string() == word).unwrap();
        Filter::Compare(name.to_owned(), cmp, self.literal())
    }

    fn literal(&mut self) -> Value {
        if self.eat("datetime'") {
            return Value::DateTime(Timestamp::parse(&self.quoted()).unwrap());
        }
        if self.eat("'") {
            return Value::String(self.quoted());
        }
        let end = self.0.find([' ', ')']).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        match word {
            "true" | "false" => Value::Bool(word == "true"),
            _ => word
                .parse()
                .map(Value::I32)
                .or_else(|_| word.parse().map(Value::F64))
                .unwrap_or_else(|_| Value::I64(word.strip_suffix('L').unwrap().parse().unwrap())),
        }
    }

    fn quoted(&mut self) -> String {
        let mut text = String::new();
        loop {
            let end = self.0.find('\'').unwrap();
            text += &self.0[..end];
            self.0 = &self.0[end + 1..];
            if !self.eat("'") {
                return text;
            }
            text.push('\'');
        }
    }

    fn eat(&mut self, word: &str) -> bool {
        let rest = self.0.strip_prefix(word);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        "[a'() ]{0,3}|\u{ffff}|\u{1f600}".prop_map(Value::String),
        any::<bool>().prop_map(Value::Bool),
        (-2..3).prop_map(Value::I32),
        (-2..3_i64).prop_map(Value::I64),
        (-4..5).prop_map(|n| Value::F64(f64::from(n) / 2.0)),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::F64),
        (0..3_i64).prop_map(|n| Value::DateTime(Timestamp::UNIX_EPOCH.plus_ticks(n))),
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    let cmp = prop_oneof![Just(Cmp::Eq), Just(Cmp::Ne), Just(Cmp::Lt), Just(Cmp::Le), Just(Cmp::Gt), Just(Cmp::Ge)];
    let name = prop_oneof![Just("PartitionKey"), Just("RowKey"), Just("Timestamp"), Just("a"), Just("b"), Just("c")];
    let leaf = (name, cmp, value()).prop_map(|(name, cmp, value)| Filter::Compare(name.to_owned(), cmp, value));
    leaf.prop_recursive(4, 24, 4, |inner| {
        let several = prop::collection::vec(inner, 0..4);
        prop_oneof![several.clone().prop_map(Filter::And), several.prop_map(Filter::Or)]
    })
}

fn row() -> impl Strategy<Value = Row> {
    ("[a'() ]{0,3}", "[a'() ]{0,3}", prop::collection::btree_map("[abc]", value(), 0..3)).prop_map(
        |(partition_key, row_key, properties)| Row {
            entity: Entity {
                partition_key,
                row_key,
                properties: properties.into_iter().map(|(name, value)| (name.into(), value)).collect(),
            },
            etag: Etag(String::new()),
            timestamp: Timestamp::UNIX_EPOCH.plus_ticks(1),
        },
    )
}

proptest! {
    #[test]
    fn the_text_of_a_filter_means_what_the_filter_means(filter in filter(), rows in prop::collection::vec(row(), 1..8)) {
        let text = filter.to_string();
        let mut reader = Reader(&text);
        let read = reader.or();
        prop_assert_eq!(reader.0, "", "not all of {} was read", text);
        for row in rows {
            prop_assert_eq!(matches(&filter, &row), matches(&read, &row), "{}", text);
            let (low, high) = partition_bounds(&filter);
            let key = row.entity.partition_key.as_str();
            let outside = low.is_some_and(|low| ordinal(key, low).is_lt()) || high.is_some_and(|high| ordinal(key, high).is_gt());
            prop_assert!(!(outside && matches(&filter, &row)), "the bounds lose a row: {}", text);
        }
    }
}

#[test]
fn texts_are_in_the_order_of_their_utf_16_units() {
    assert!(ordinal("\u{1f600}", "\u{ffff}").is_lt());
    assert!(ordinal("B", "a").is_lt() && ordinal("", "a").is_lt() && ordinal("a", "ab").is_lt());
}
