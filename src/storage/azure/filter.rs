//! The OData text of a filter, quoted so that a value can never become syntax.

use std::fmt;

use crate::storage::table::{Cmp, Filter, Value};

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compare(name, cmp, value) => {
                write!(f, "{name} {} ", operator(*cmp))?;
                literal(f, value)
            }
            Self::And(parts) => join(f, parts, " and "),
            Self::Or(parts) => join(f, parts, " or "),
        }
    }
}

fn operator(cmp: Cmp) -> &'static str {
    match cmp {
        Cmp::Eq => "eq",
        Cmp::Ne => "ne",
        Cmp::Lt => "lt",
        Cmp::Le => "le",
        Cmp::Gt => "gt",
        Cmp::Ge => "ge",
    }
}

fn literal(f: &mut fmt::Formatter<'_>, value: &Value) -> fmt::Result {
    match value {
        Value::Null => f.write_str("null"),
        Value::String(text) => write!(f, "'{}'", text.replace('\'', "''")),
        Value::Bool(flag) => write!(f, "{flag}"),
        Value::I32(number) => write!(f, "{number}"),
        Value::I64(number) => write!(f, "{number}L"),
        Value::F64(number) => write!(f, "{number:?}"),
        Value::DateTime(time) => write!(f, "datetime'{}'", time.to_table_text()),
    }
}

/// One part stands bare; several are each put in parentheses, unless they are single comparisons under `or`, as .NET writes them.
fn join(f: &mut fmt::Formatter<'_>, parts: &[Filter], word: &str) -> fmt::Result {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            f.write_str(word)?;
        }
        let bare = parts.len() == 1 || (word == " or " && matches!(part, Filter::Compare(..)));
        if bare { write!(f, "{part}")? } else { write!(f, "({part})")? }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn texts_are_those_of_dotnet() {
        let check = |filter: Filter, text| assert_eq!(filter.to_string(), text);
        let eq = |name, value| Filter::compare(name, Cmp::Eq, value);
        check(Filter::eq("PartitionKey", "it's"), "PartitionKey eq 'it''s'");
        check(eq("a", Value::I64(-5)), "a eq -5L");
        check(eq("a", Value::I32(5)), "a eq 5");
        check(eq("a", Value::F64(1.0)), "a eq 1.0");
        check(eq("a", Value::Bool(true)), "a eq true");
        let from = Timestamp::parse("2024-03-14T16:00:05.1285428Z").map(Value::DateTime).unwrap();
        let status = || Filter::Or(vec![Filter::eq("RuntimeStatus", "Running"), Filter::eq("RuntimeStatus", "Pending")]);
        let both = Filter::And(vec![Filter::compare("CreatedTime", Cmp::Ge, from), status()]);
        check(
            both,
            "(CreatedTime ge datetime'2024-03-14T16:00:05.1285428Z') and (RuntimeStatus eq 'Running' or RuntimeStatus eq 'Pending')",
        );
        check(Filter::And(vec![status()]), "RuntimeStatus eq 'Running' or RuntimeStatus eq 'Pending'");
    }
}
