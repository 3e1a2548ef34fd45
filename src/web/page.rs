//! The status page: what each Consortium is at, as plain HTML.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::metrics::ConsortiumView;

/// The whole page.
pub fn render(consortia: &BTreeMap<String, ConsortiumView>) -> String {
    let mut body = String::new();
    for (name, view) in consortia {
        let ConsortiumView { phase, reason, message, revision, attempted, steps, next, notes, .. } = view;
        let _ = write!(body, "<h2>{}</h2><table>", escape(name));
        let rows = [
            ("Phase", phase.as_str()),
            ("Reason", reason),
            ("Message", message),
            ("Applied revision", revision.as_deref().unwrap_or("none yet")),
            ("Attempted revision", attempted.as_deref().unwrap_or("none yet")),
        ];
        for (title, value) in rows {
            let _ = write!(body, "<tr><th>{title}</th><td>{}</td></tr>", escape(value));
        }
        let _ = write!(body, "<tr><th>Steps to do</th><td>{}</td></tr></table>", steps.values().sum::<u64>());
        list(&mut body, "Next", next);
        list(&mut body, "Notes", notes);
    }
    if consortia.is_empty() {
        body.push_str("<p>This daemon has no Consortium yet: kubectl get consortia -A</p>");
    }
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Tenter</title>\
         <style>body{{font:15px/1.5 sans-serif;margin:2em}}th{{text-align:left;padding-right:2em;vertical-align:top}}</style>\
         </head><body><h1>Tenter</h1>{body}<p><a href=\"/metrics\">metrics</a></p></body></html>\n"
    )
}

fn list(body: &mut String, title: &str, items: &[String]) {
    if items.is_empty() {
        return;
    }
    let _ = write!(body, "<h3>{title}</h3><ul>");
    for item in items {
        let _ = write!(body, "<li>{}</li>", escape(item));
    }
    body.push_str("</ul>");
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_others_wrote() {
        let view = ConsortiumView {
            message: "<script>alert('x')</script> & \"more\"".to_owned(),
            notes: vec!["<b>".to_owned()],
            ..ConsortiumView::default()
        };
        let page = render(&BTreeMap::from([("<i>".to_owned(), view)]));
        assert!(!page.contains("<script>") && !page.contains("<b>") && !page.contains("<i>"), "{page}");
        assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;more&quot;"), "{page}");
    }
}
