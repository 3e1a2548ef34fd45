//! One comment for a pull request: found again by its first line, folded where it is long, cut where it is too long.

use std::fmt::Write as _;

/// Most bytes of a comment unless said otherwise: Bitbucket takes 32,768 characters, GitHub 65,536.
pub const LIMIT: usize = 32_768;
/// Least that can be asked for: less has no room for what must be said.
pub const LEAST: usize = 2048;
/// Longest text that the head quotes, in characters.
const QUOTED: usize = 400;
/// Left free for the ends of sections and the remark on what is left out.
const RESERVE: usize = 512;

/// A part of a comment: lines between fences, folded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// What is seen of it before it is opened.
    pub summary: String,
    /// The language of its lines.
    pub language: &'static str,
    /// Its lines, of text that is nobody's markup.
    pub lines: Vec<String>,
}

/// A comment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Markdown {
    /// What makes it this comment and no other: `plan:trade`.
    pub marker: String,
    /// The heading, escaped.
    pub heading: String,
    /// Paragraphs and list items below it, escaped, one string each.
    pub head: Vec<String>,
    /// The folded parts.
    pub sections: Vec<Section>,
}

/// Digits after which a run of hexadecimal ones is broken: hosts link what has seven, as the name of a commit.
const COMMIT: usize = 6;

/// Somebody's text between markup: nothing in it is markup, a mention or a link. What hosts look for only after they have
/// taken the markup away (names, numbers of issues, addresses, commits) is broken by a space without width.
pub fn escaped(text: &str) -> String {
    let mut out = String::new();
    let shown = |character| if character == '\n' { ' ' } else { super::printable_char(character) };
    let mut quoted: Vec<char> = text.chars().take(QUOTED).map(shown).collect();
    if text.chars().nth(QUOTED).is_some() {
        quoted.push('…');
    }
    let mut digits = 0;
    for (place, character) in quoted.iter().enumerate() {
        let before = quoted.get(..place).unwrap_or_default();
        if is_reference(before, *character) || (digits == COMMIT && character.is_ascii_hexdigit()) {
            out.push('\u{200b}');
            digits = 0;
        }
        digits = if character.is_ascii_hexdigit() { digits + 1 } else { 0 };
        match character {
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '(' | ')' | '#' | '+' | '!' | '|' | '~' => {
                out.push('\\');
                out.push(*character);
            }
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            _ => out.push(*character),
        }
    }
    out
}

/// Whether a character makes a reference of what stands before it: of somebody (`@name`), of something that has a number
/// (`#1`, `GH-1`, and GitLab's `!1`, `$1`, `%1`, `&1`, `~1`, `^1`), or of a page (`https://`, `www.`).
fn is_reference(before: &[char], character: char) -> bool {
    let ends = |end: &str| {
        let tail = before.iter().rev();
        before.len() >= end.len() && tail.zip(end.chars().rev()).all(|(one, other)| one.eq_ignore_ascii_case(&other))
    };
    let sign = before.last().is_some_and(|last| "@#!$%&~^".contains(*last));
    (sign && !character.is_whitespace())
        || (character == '/' && ends(":"))
        || (character == '.' && ends("www"))
        || (character == '-' && ends("gh"))
}

/// Somebody's text as code.
pub fn code(text: &str) -> String {
    let text: String =
        text.chars().take(QUOTED).map(super::printable_char).map(|c| if c == '\n' { ' ' } else { c }).collect();
    let fence = "`".repeat(longest_run(&text) + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// The longest run of backticks.
fn longest_run(text: &str) -> usize {
    let runs = text.split(|character| character != '`').map(str::len);
    runs.max().unwrap_or_default()
}

impl Markdown {
    /// The comment, in at most `limit` bytes.
    pub fn render(&self, limit: usize) -> String {
        let limit = limit.max(LEAST);
        let room = limit - RESERVE;
        let allowed = |c: &char| c.is_alphanumeric() || "-:/._ ".contains(*c);
        let mut marker: String = self.marker.chars().filter(allowed).take(QUOTED).collect();
        // Two of them would end an HTML comment.
        while marker.contains("--") {
            marker = marker.replace("--", "-");
        }
        let mut text = format!("<!-- tenter:{marker} -->\n### {}\n", self.heading);
        let mut left_out = false;
        for part in &self.head {
            if text.len() + part.len() + 2 > room {
                left_out = true;
                continue;
            }
            let _ = writeln!(text, "{}{part}", if part.starts_with("- ") { "" } else { "\n" });
        }
        for section in &self.sections {
            left_out |= !section.render(&mut text, room);
        }
        if left_out {
            text.push_str(
                "\nThis comment is cut. The whole is in the job summary, where there is one, and in the job's \
                 output with `-o text`.\n",
            );
        }
        text
    }
}

impl Section {
    /// Adds it as far as there is room; whether all of it is there.
    fn render(&self, text: &mut String, room: usize) -> bool {
        let Self { summary, language, lines } = self;
        let fence = "`".repeat(lines.iter().map(|line| longest_run(line)).max().unwrap_or_default().max(2) + 1);
        let head = format!("\n<details><summary>{summary}</summary>\n\n{fence}{language}\n");
        let tail = format!("{fence}\n\n</details>\n");
        // No line, no section: an empty frame says nothing.
        let mut used = text.len() + head.len() + tail.len();
        if lines.first().is_none_or(|first| used + first.len() + 1 > room) {
            return lines.is_empty();
        }
        text.push_str(&head);
        for line in lines {
            used += line.len() + 1;
            if used > room {
                text.push_str(&tail);
                return false;
            }
            let _ = writeln!(text, "{line}");
        }
        text.push_str(&tail);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comment(lines: usize, line: &str) -> Markdown {
        Markdown {
            marker: "plan:trade".to_owned(),
            heading: "Plan".to_owned(),
            head: vec!["3 steps".to_owned()],
            sections: vec![
                Section { summary: "Steps".to_owned(), language: "diff", lines: vec![line.to_owned(); lines] },
                Section { summary: "More".to_owned(), language: "text", lines: vec![line.to_owned(); lines] },
            ],
        }
    }

    #[test]
    fn never_grows_over_its_limit_and_closes_what_it_opens() {
        for limit in [0, LEAST, 5000, LIMIT, 65_536] {
            for line in ["x", "```", &"é".repeat(300), &"y".repeat(3000)] {
                for lines in [0, 1, 10, 5000] {
                    let text = comment(lines, line).render(limit);
                    assert!(text.len() <= limit.max(LEAST), "{} of {limit}", text.len());
                    assert_eq!(text.matches("<details>").count(), text.matches("</details>").count());
                    assert!(text.starts_with("<!-- tenter:plan:trade -->\n"));
                    let whole = text.matches(line).count() >= 2 * lines;
                    assert!(line == "```" || whole != text.contains("is cut"), "{limit} {lines} {line:.9}");
                }
            }
        }
    }

    #[test]
    fn somebodys_text_is_no_markup() {
        assert_eq!(escaped("@all <b> [x](y) | `z`\n# q"), "@\u{200b}all &lt;b&gt; \\[x\\]\\(y\\) \\| \\`z\\` \\# q");
        assert_eq!(code("a`b``"), "``` a`b`` ```");
        assert_eq!(code("a|b"), "`a|b`");
        let marker = Markdown { marker: "plan:--> x".to_owned(), ..Markdown::default() };
        assert!(marker.render(LIMIT).starts_with("<!-- tenter:plan:- x -->\n"));
    }

    #[test]
    fn somebodys_text_calls_nobody_and_links_nothing() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let text = format!(
            "@octo-org/team ann@example.org #12 octo/repo#12 GH-1 gh-2 !3 %4 &5 ~bug ^6 https://x.example http://x.example ftp://x \
             www.example.org WWW.example.org {commit} octo/repo@{commit} 1234567"
        );
        let out = escaped(&text);
        let shown = out.replace('\\', "").replace("&amp;", "&");
        // What GitHub and GitLab make links of.
        for link in [
            "@octo", "@example", "#12", "GH-1", "gh-2", "!3", "%4", "&5", "~bug", "^6", "://", "www.", "WWW.", "@0",
            "1234567",
        ] {
            assert!(!shown.contains(link), "{link}: {out}");
        }
        let longest = shown.split(|one: char| !one.is_ascii_hexdigit()).map(str::len).max();
        assert_eq!(longest, Some(COMMIT), "{out}");
        // Nothing is lost for who reads it.
        assert_eq!(shown.replace('\u{200b}', ""), text);
        assert_eq!(escaped("50 % of it & more: a/b 10-11"), "50 % of it &amp; more: a/b 10-11");
    }

    #[test]
    fn a_line_cannot_close_the_fence() {
        let text = comment(1, "````").render(LIMIT);
        assert!(text.contains("\n`````diff\n````\n`````\n"), "{text}");
    }
}
