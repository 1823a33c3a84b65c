//! The page for people: a query box with a table, the targets, and links. One self-contained page
//! for every page path; nothing is fetched from anywhere but our own API.

const PAGE: &str = include_str!("page.html");

/// The page, with `title` and the external path that its links and requests start with.
pub(super) fn page(title: &str, external_path: &str) -> String {
    PAGE.replace("{{title}}", &escape(title))
        .replace("{{prefix}}", &escape(external_path))
}

/// `text` for HTML, in text and in quotes.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            character => out.push(character),
        }
    }
    out
}
