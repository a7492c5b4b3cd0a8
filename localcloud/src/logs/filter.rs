//! The patterns of FilterLogEvents: terms, `"quoted terms"`, `?any` of several, `-not`. Pure.

/// A pattern. An empty one matches everything.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Filter {
    all: Vec<String>,
    any: Vec<String>,
    none: Vec<String>,
}

impl Filter {
    /// Parses a pattern. `None` for patterns of JSON and of columns, which localcloud does not have.
    pub fn parse(pattern: &str) -> Option<Self> {
        let pattern = pattern.trim();
        if pattern.starts_with(['{', '[', '%']) {
            return None;
        }
        let mut filter = Self::default();
        let mut rest = pattern;
        while !rest.is_empty() {
            let (terms, after) = match rest.split_at(1) {
                ("?", after) => (&mut filter.any, after),
                ("-", after) => (&mut filter.none, after),
                _ => (&mut filter.all, rest),
            };
            let (term, after) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => after.split_once(char::is_whitespace).unwrap_or((after, "")),
            };
            terms.push(term.to_owned());
            rest = after.trim_start();
        }
        Some(filter)
    }

    pub fn matches(&self, message: &str) -> bool {
        let has = |term: &String| message.contains(term.as_str());
        self.all.iter().all(has)
            && (self.any.is_empty() || self.any.iter().any(has))
            && !self.none.iter().any(has)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_select_messages() {
        let cases = [
            ("", "anything", true),
            ("REPORT", "REPORT RequestId: 1", true),
            ("REPORT", "report", false),
            ("ERROR Timeout", "Timeout: ERROR", true),
            ("ERROR Timeout", "ERROR", false),
            ("\"Init Duration\"", "Init Duration: 5 ms", true),
            ("\"Init Duration\"", "Duration of Init", false),
            ("?ERROR ?WARN", "WARN x", true),
            ("?ERROR ?WARN", "INFO x", false),
            ("REPORT -\"Init Duration\"", "REPORT Init Duration", false),
            ("REPORT -\"Init Duration\"", "REPORT Duration", true),
        ];
        for (pattern, message, expected) in cases {
            let filter = Filter::parse(pattern).unwrap();
            assert_eq!(filter.matches(message), expected, "{pattern} on {message}");
        }
        for pattern in ["{ $.level = \"ERROR\" }", "[a, b]", "\"open", "%regex%"] {
            assert_eq!(Filter::parse(pattern), None, "{pattern}");
        }
    }
}
