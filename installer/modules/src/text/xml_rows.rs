//! Reads the rows that the `mariadb` client writes as XML. Pure.
//!
//! Only that client's few shapes are known: result sets, rows and fields, without attributes other than theirs.

/// One row: names of columns with their values; `None` is SQL's NULL.
pub type Row = Vec<(String, Option<String>)>;

/// The rows of each result set, in order. `None` if the text is cut off or not of that client.
pub fn result_sets(mut text: &str) -> Option<Vec<Vec<Row>>> {
    let mut sets = Vec::new();
    while let Some(at) = text.find("<resultset ") {
        text = &text[at..];
        text = &text[text.find('>')? + 1..];
        let mut rows = Vec::new();
        loop {
            text = text.trim_start();
            if let Some(rest) = text.strip_prefix("</resultset>") {
                text = rest;
                break;
            }
            text = text.strip_prefix("<row>")?;
            let mut row = Row::new();
            loop {
                text = text.trim_start();
                if let Some(rest) = text.strip_prefix("</row>") {
                    text = rest;
                    break;
                }
                let rest = text.strip_prefix("<field name=\"")?;
                let (name, rest) = rest.split_once('"')?;
                if let Some(rest) = rest.strip_prefix(" xsi:nil=\"true\" />") {
                    row.push((unescape(name), None));
                    text = rest;
                } else {
                    let (value, rest) = rest.strip_prefix('>')?.split_once("</field>")?;
                    row.push((unescape(name), Some(unescape(value))));
                    text = rest;
                }
            }
            rows.push(row);
        }
        sets.push(rows);
    }
    Some(sets)
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rows_nulls_and_empty_sets_are_read() {
        let text = "<?xml version=\"1.0\"?>\n\n<resultset statement=\"SELECT &quot;a&gt;b\" xmlns:xsi=\"x\">\n  <row>\n\t<field name=\"a\">1 &amp;lt; 2\n\tx</field>\n\t<field name=\"b\" xsi:nil=\"true\" />\n\t<field name=\"c\"></field>\n  </row>\n</resultset>\n<?xml version=\"1.0\"?>\n<resultset statement=\"\"></resultset>\n";
        let row = vec![
            ("a".into(), Some("1 &lt; 2\n\tx".into())),
            ("b".into(), None),
            ("c".into(), Some(String::new())),
        ];
        assert_eq!(result_sets(text), Some(vec![vec![row], vec![]]));
        assert_eq!(result_sets(&text[..150]), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(<resultset >|<row>|</row>|<field name=\"|\"|>|</field>|a|</resultset>){0,12}") {
            let _ = result_sets(&text);
        }
    }
}
