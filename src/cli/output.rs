//! Standard output: JSON or text, tables, and how wide they may be.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use serde::Serialize;

use super::failure::{Failure, Kind, Outcome};
use super::text;

#[cfg(all(test, feature = "testing"))]
const SCREEN_COLUMNS: usize = 120;

/// Where results go. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    json: bool,
    to: To,
}

#[derive(Clone, Debug)]
enum To {
    Terminal,
    /// What a test looks at.
    #[cfg(all(test, feature = "testing"))]
    Screen(std::sync::Arc<std::sync::Mutex<String>>),
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, to: To::Terminal }
    }

    /// To a screen that a test looks at.
    #[cfg(all(test, feature = "testing"))]
    pub(crate) fn to_screen(json: bool) -> (Self, std::sync::Arc<std::sync::Mutex<String>>) {
        let screen = std::sync::Arc::<std::sync::Mutex<String>>::default();
        (Self { json, to: To::Screen(std::sync::Arc::clone(&screen)) }, screen)
    }

    /// A line of the result, as it is.
    pub(crate) fn line(&self, line: &str) -> Outcome {
        match &self.to {
            To::Terminal => {
                let mut out = io::stdout().lock();
                writeln!(out, "{line}")?;
                Ok(out.flush()?)
            }
            #[cfg(all(test, feature = "testing"))]
            To::Screen(screen) => {
                screen.lock().expect("nobody panics").push_str(&format!("{line}\n"));
                Ok(())
            }
        }
    }

    /// Prints a result in the form that was asked for.
    pub(crate) fn print<J: Serialize>(&self, json: impl FnOnce() -> J, words: impl FnOnce() -> String) -> Outcome {
        let shown = if self.json {
            text::json(&serde_json::to_string_pretty(&json()).map_err(io::Error::from)?)
        } else {
            text::block(&words())
        };
        self.line(shown.trim_end())
    }

    /// Prints one of many results, each on a line of its own.
    pub(crate) fn print_line<J: Serialize>(&self, json: impl FnOnce() -> J, words: impl FnOnce() -> String) -> Outcome {
        let line = if self.json { text::json(&serde_json::to_string(&json()).map_err(io::Error::from)?) } else { words() };
        self.line(line.trim_end())
    }

    /// Whether lines may stand beside the result: not beside one that is JSON.
    pub(crate) fn is_for_people(&self) -> bool {
        !self.json
    }

    /// Says one line beside the result.
    #[allow(clippy::print_stderr, reason = "the command speaks")]
    pub(crate) fn say(&self, words: &str) {
        match &self.to {
            _ if !self.is_for_people() => {}
            To::Terminal => eprintln!("{words}"),
            #[cfg(all(test, feature = "testing"))]
            To::Screen(screen) => screen.lock().expect("nobody panics").push_str(&format!("{words}\n")),
        }
    }

    /// Says one line beside the result that something may be wrong.
    pub(crate) fn warn(&self, words: &str) {
        self.say(&format!("warning: {words}"));
    }

    /// How many columns a shortened table may take: those of the terminal. A file or a pipe takes everything.
    pub(crate) fn width(&self) -> usize {
        #[cfg(all(test, feature = "testing"))]
        if matches!(self.to, To::Screen(_)) {
            return SCREEN_COLUMNS;
        }
        let columns = || std::env::var("COLUMNS").ok()?.parse().ok().filter(|columns| *columns > 0);
        let of_terminal = || io::stdout().is_terminal().then(|| Table::new().width()).flatten().map(usize::from);
        columns().or_else(of_terminal).unwrap_or(usize::MAX)
    }
}

/// Nothing is deleted that nobody has agreed to.
#[allow(clippy::print_stderr, reason = "the command asks")]
pub(crate) fn confirm(what: &str, is_agreed: bool, out: &Output) -> Outcome {
    if is_agreed {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() || !out.is_for_people() {
        let words = format!("{what} would be deleted for good, and nobody can be asked; nothing was done: pass --yes");
        return Err(Failure::new(Kind::Invalid, words));
    }
    eprint!("{what} will be deleted for good. Go on? [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new(Kind::Error, "nothing was deleted")),
    }
}

/// Characters of the first cell of a row behind which the other rows are not moved out of the way.
const FIRST_CHARS: usize = 72;

/// A table as wide as what it holds; a first cell of great length makes its own row longer, and no other.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let beginning = |row: &Vec<String>| {
        let mut row = row.clone();
        if let Some(first) = row.first_mut() {
            *first = first.chars().take(FIRST_CHARS).collect();
        }
        row
    };
    let mut table = plain(header, &rows.iter().map(beginning).collect::<Vec<_>>());
    table.set_content_arrangement(ContentArrangement::Disabled);
    let drawn = table.trim_fmt();
    let mut lines = drawn.lines();
    let mut whole: Vec<String> = lines.next().map(str::to_owned).into_iter().collect();
    whole.extend(lines.zip(rows).map(|(line, row)| {
        let rest: String = row.first().into_iter().flat_map(|first| first.chars()).skip(FIRST_CHARS).collect();
        let at = if rest.is_empty() { 0 } else { line.char_indices().nth(FIRST_CHARS).map_or(line.len(), |(at, _)| at) };
        format!("{}{rest}{}", &line[..at], &line[at..])
    }));
    whole.join("\n")
}

/// A table from which columns are left out, those first that are named first, until it fits the width; a line below says which.
pub(crate) fn fitted_table(header: &[&str], rows: &[Vec<String>], spare: &[&str], width: usize) -> String {
    let mut left_out = Vec::new();
    loop {
        let kept: Vec<usize> = (0..header.len()).filter(|at| !left_out.contains(&header[*at])).collect();
        let headers: Vec<&str> = kept.iter().map(|at| header[*at]).collect();
        let cells: Vec<Vec<String>> = rows.iter().map(|row| kept.iter().map(|at| row[*at].clone()).collect()).collect();
        let drawn = table(&headers, &cells);
        let fits = drawn.lines().all(|line| line.chars().count() <= width);
        match spare.iter().find(|name| headers.contains(name)) {
            Some(name) if !fits => left_out.push(*name),
            _ if left_out.is_empty() => return drawn,
            _ => return format!("{drawn}\n(the terminal is too narrow for {})", left_out.join(", ")),
        }
    }
}

/// A table of one line per row whose last column is shortened to the width.
pub(crate) fn shortened_table(header: &[&str], rows: &[Vec<String>], width: usize) -> String {
    let columns = header.len();
    let of_row = |row: &[String]| row.iter().take(columns - 1).map(|cell| cell.chars().count()).collect::<Vec<_>>();
    let headers: Vec<_> = header.iter().map(ToString::to_string).collect();
    let widest =
        rows.iter().map(|row| of_row(row)).fold(of_row(&headers), |a, b| a.into_iter().zip(b).map(|(a, b)| a.max(b)).collect());
    // Two spaces between columns; on a narrow terminal lines break, but something is seen.
    let left = width.saturating_sub(widest.iter().map(|w| w + 2).sum()).max(20);
    let short = |row: &Vec<String>| {
        let mut row = row.clone();
        if let Some(last) = row.last_mut() {
            *last = text::shortened(last, left);
        }
        row
    };
    table(header, &rows.iter().map(short).collect::<Vec<_>>())
}

fn plain(header: &[&str], rows: &[Vec<String>]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2)).set_constraint(ColumnConstraint::ContentWidth);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[[&str; 3]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(ToString::to_string).collect()).collect()
    }

    #[test]
    fn columns_are_aligned_and_lines_end_where_their_text_ends() {
        let text = table(&["ID", "NAME", "STATUS"], &rows(&[["order-7", "Fulfil", "Running"], ["x", "", "Failed"]]));
        assert_eq!(text, "ID       NAME    STATUS\norder-7  Fulfil  Running\nx                Failed");
    }

    #[test]
    fn a_first_cell_of_great_length_moves_no_other_row() {
        let long = "é".repeat(300);
        let text = table(&["ID", "NAME", "STATUS"], &rows(&[["order-7", "Fulfil", "x"], [&long, "Ship", "y"]]));
        assert_eq!(text, format!("{:72}  NAME    STATUS\n{:72}  Fulfil  x\n{long}  Ship    y", "ID", "order-7"));
    }

    #[test]
    fn columns_are_left_out_where_there_is_no_room_for_them() {
        let rows = rows(&[["order-7", "Fulfil", "Running"], ["x", "", "Failed"]]);
        let at = |width| fitted_table(&["ID", "NAME", "STATUS"], &rows, &["STATUS", "MORE", "NAME"], width);
        assert_eq!(at(24), table(&["ID", "NAME", "STATUS"], &rows));
        assert_eq!(at(23), "ID       NAME\norder-7  Fulfil\nx\n(the terminal is too narrow for STATUS)");
        assert_eq!(at(3), "ID\norder-7\nx\n(the terminal is too narrow for STATUS, NAME)");
    }

    #[test]
    fn the_last_column_is_shortened_to_the_width() {
        let text = shortened_table(&["#", "EVENT", "DATA"], &rows(&[["1", "EventRaised", &"x".repeat(50)]]), 40);
        assert_eq!(text, format!("#  EVENT        DATA\n1  EventRaised  {}…", "x".repeat(23)));
        assert!(text.lines().all(|line| line.chars().count() <= 40));
    }
}
