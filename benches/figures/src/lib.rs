//! What a command measured: tables, goals and plots, with the command and the date. They are kept as JSON in
//! `target/figures/`, where the report of a rehearsal finds them, and the README's copy is written from the same.

mod plot;

use jiff::Zoned;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

/// The outcome of one measuring command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// What was measured.
    pub title: String,
    /// The command that measures it again.
    pub command: String,
    /// The day on which it was measured.
    pub taken: Date,
    /// The figures.
    pub tables: Vec<Table>,
    /// What they are held to.
    pub goals: Vec<Goal>,
    /// What is easier seen than read.
    pub plots: Vec<Plot>,
}

/// Figures in rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// What the table shows, in a sentence.
    pub caption: String,
    /// The heads of the columns, with units. The first column names the row.
    pub columns: Vec<String>,
    /// The cells, as they are shown.
    pub rows: Vec<Vec<String>>,
}

/// A figure and its limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Goal {
    /// What is compared with what: `trigger, cold start over floor`.
    pub what: String,
    /// What was measured.
    pub measured: f64,
    /// How far two measurements in the same run differ for no reason.
    pub noise: f64,
    /// What it is to be.
    pub limit: Limit,
    /// What it may not fall behind, for a goal that is not met yet.
    pub held: Option<Limit>,
}

/// What a figure is to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// This, or less.
    AtMost(f64),
    /// This, or more.
    AtLeast(f64),
}

/// Series of points over common axes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plot {
    /// What is shown.
    pub title: String,
    /// What is given, with its unit.
    pub x: String,
    /// What was measured, with its unit.
    pub y: String,
    /// The lines.
    pub series: Vec<Series>,
}

/// One line of a plot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// What it stands for.
    pub name: String,
    /// x and y.
    pub points: Vec<(f64, f64)>,
}

impl Figures {
    /// Without figures yet, taken today.
    pub fn new(title: &str, command: &str) -> Self {
        Self {
            title: title.to_owned(),
            command: command.to_owned(),
            taken: Zoned::now().date(),
            tables: Vec::new(),
            goals: Vec::new(),
            plots: Vec::new(),
        }
    }

    /// Where the figures of that name are kept, in the project at `root`.
    pub fn file(root: &Path, name: &str) -> PathBuf {
        root.join("target/figures")
            .join(name)
            .with_extension("json")
    }

    /// The figures of the last run; `None` if there was none, or if it was of a program that wrote them in another way.
    pub fn read(root: &Path, name: &str) -> Option<Self> {
        let text = std::fs::read_to_string(Self::file(root, name)).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// The figures of every command, in the order of their names.
    pub fn all(root: &Path) -> Vec<Self> {
        let folder = std::fs::read_dir(root.join("target/figures"));
        let files = folder.into_iter().flatten().flatten();
        let names = files.filter_map(|file| {
            let path = file.path();
            path.file_stem()?.to_str().map(str::to_owned)
        });
        let mut names: Vec<_> = names.collect();
        names.sort();
        let figures = names.iter().filter_map(|name| Self::read(root, name));
        figures.collect()
    }

    /// Keeps the figures, in place of those of the run before.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, root: &Path, name: &str) -> io::Result<()> {
        let file = Self::file(root, name);
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(file, serde_json::to_string_pretty(self)?)
    }

    /// Tables and goals in Markdown, with the command and the day.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for table in &self.tables {
            text += &table.markdown();
            text.push('\n');
        }
        if !self.goals.is_empty() {
            text += &self.goal_table().markdown();
            text.push('\n');
        }
        let _ = writeln!(text, "Measured on {} with `{}`.", self.taken, self.command);
        text
    }

    /// The goals as a table.
    pub fn goal_table(&self) -> Table {
        let row = |goal: &Goal| {
            vec![
                goal.what.clone(),
                goal.limit.to_string(),
                format!("{:.2} ± {:.2}", goal.measured, goal.noise),
                match (goal.met(), goal.held) {
                    (true, _) => "yes".to_owned(),
                    (false, None) => "no".to_owned(),
                    (false, Some(held)) => format!("no; held {held}"),
                },
            ]
        };
        Table {
            caption: "Goals".to_owned(),
            columns: ["goal", "limit", "measured", "met"]
                .map(str::to_owned)
                .to_vec(),
            rows: self.goals.iter().map(row).collect(),
        }
    }

    /// Puts the figures into a text, between `<!-- figures: name -->` and `<!-- end of figures -->`.
    ///
    /// # Errors
    /// A sentence that says which of the two is not there.
    pub fn put_into(&self, text: &str, name: &str) -> Result<String, String> {
        const END: &str = "<!-- end of figures -->";
        let begin = format!("<!-- figures: {name} -->");
        let missing = |mark: &str| format!("there is no {mark} to put the figures at");
        let (before, rest) = text.split_once(&begin).ok_or_else(|| missing(&begin))?;
        let (_, after) = rest.split_once(END).ok_or_else(|| missing(END))?;
        Ok(format!(
            "{before}{begin}\n\n{}\n{END}{after}",
            self.markdown()
        ))
    }

    /// Puts the figures into the README of the project at `root`.
    ///
    /// # Errors
    /// If the file cannot be read or written, or has no place for them.
    pub fn write_into_readme(&self, root: &Path, name: &str) -> io::Result<()> {
        let readme = root.join("README.md");
        let text = std::fs::read_to_string(&readme)?;
        let text = self.put_into(&text, name).map_err(io::Error::other)?;
        std::fs::write(readme, text)
    }
}

/// `12,345`
pub fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

impl Table {
    /// The table in Markdown, after its caption.
    pub fn markdown(&self) -> String {
        let row = |cells: &[String]| {
            let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let rule = vec!["---".to_owned(); self.columns.len()];
        let rows = self.rows.iter().map(|cells| row(cells));
        let rows: String = rows.collect();
        format!(
            "{}:\n\n{}{}{rows}",
            self.caption,
            row(&self.columns),
            row(&rule)
        )
    }
}

impl Goal {
    /// Whether the figure is what it is to be.
    pub fn met(&self) -> bool {
        self.is_within(self.limit, 0.0)
    }

    /// Whether the figure misses its limit, or what it is held to meanwhile, by no more than measurements of the same run
    /// differ.
    pub fn met_within_noise(&self) -> bool {
        self.is_within(self.held.unwrap_or(self.limit), self.noise)
    }

    fn is_within(&self, limit: Limit, noise: f64) -> bool {
        match limit {
            Limit::AtMost(limit) => self.measured <= limit + noise,
            Limit::AtLeast(limit) => self.measured >= limit - noise,
        }
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "at most {limit}"),
            Self::AtLeast(limit) => write!(f, "at least {limit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        let mut figures = Figures::new("Cold starts", "cargo bench");
        figures.tables.push(Table {
            caption: "Cold starts".into(),
            columns: vec!["peer".into(), "ms".into()],
            rows: vec![vec!["a|b".into(), "1".into()]],
        });
        figures
    }

    #[test]
    fn figures_replace_those_of_before_and_nothing_else() {
        let readme = "a\n<!-- figures: cold -->stale<!-- end of figures -->\nb <!-- figures: other -->c<!-- end of figures -->";
        let once = figures().put_into(readme, "cold").unwrap();
        assert!(once.starts_with("a\n<!-- figures: cold -->\n\nCold starts:\n\n| peer | ms |\n"));
        assert!(once.contains("| a\\|b | 1 |") && !once.contains("stale"));
        assert!(once.ends_with("\nb <!-- figures: other -->c<!-- end of figures -->"));
        assert_eq!(figures().put_into(&once, "cold").unwrap(), once);
        let error = figures().put_into(readme, "scale").unwrap_err();
        assert!(error.contains("<!-- figures: scale -->"), "{error}");
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let of = [0, 999, 1000, 1_234_567].map(thousands);
        assert_eq!(of, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_goal_that_is_missed_by_less_than_the_noise_is_not_met_but_within_it() {
        let mut goal = Goal {
            what: "cold".into(),
            measured: 2.05,
            noise: 0.1,
            limit: Limit::AtMost(2.0),
            held: None,
        };
        assert!(!goal.met() && goal.met_within_noise());
        goal.measured = 2.2;
        assert!(!goal.met_within_noise());
        goal.limit = Limit::AtLeast(2.25);
        assert!(!goal.met() && goal.met_within_noise());
        goal.measured = 2.3;
        assert!(goal.met());
    }

    #[test]
    fn a_goal_that_is_not_met_yet_is_held_to_what_was_reached() {
        let mut goal = Goal {
            what: "zipped".into(),
            measured: 2.1,
            noise: 0.0,
            limit: Limit::AtMost(2.0),
            held: Some(Limit::AtMost(2.2)),
        };
        assert!(!goal.met() && goal.met_within_noise());
        let mut figures = figures();
        figures.goals.push(goal.clone());
        let text = figures.markdown();
        assert!(text.contains("| no; held at most 2.2 |"), "{text}");
        goal.measured = 2.3;
        assert!(!goal.met_within_noise());
    }
}
