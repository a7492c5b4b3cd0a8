//! Just enough XML to write answers in.

use std::fmt::{Display, Write};

/// An XML text under construction.
#[derive(Debug, Default)]
pub struct Xml {
    text: String,
}

impl Xml {
    /// An empty document.
    pub fn document() -> Self {
        Self {
            text: String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"),
        }
    }

    /// The finished text.
    pub fn into_text(self) -> String {
        self.text
    }

    /// EC2's answer to an action: its root element, the request's identifier and the content.
    pub fn response(action: &str, request_id: &str, content: impl FnOnce(&mut Self)) -> String {
        let mut xml = Self::document();
        let _ = write!(
            xml.text,
            "<{action}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">"
        );
        xml.text("requestId", request_id);
        content(&mut xml);
        let _ = write!(xml.text, "</{action}Response>");
        xml.text
    }

    /// EC2's error document.
    pub fn error(code: &str, message: &str, request_id: &str) -> String {
        let mut xml = Self::document();
        xml.element("Response", |xml| {
            xml.element("Errors", |xml| {
                xml.element("Error", |xml| {
                    xml.text("Code", code);
                    xml.text("Message", message);
                });
            });
            xml.text("RequestID", request_id);
        });
        xml.text
    }

    /// An element with other elements in it.
    pub fn element(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.text.extend(["<", name, ">"]);
        content(self);
        self.text.extend(["</", name, ">"]);
    }

    /// An element with other elements in it, all in an XML namespace.
    pub fn element_in(&mut self, namespace: &str, name: &str, content: impl FnOnce(&mut Self)) {
        let _ = write!(self.text, "<{name} xmlns=\"{namespace}\">");
        content(self);
        let _ = write!(self.text, "</{name}>");
    }

    /// A text within the present element.
    pub fn escaped(&mut self, text: &str) {
        let _ = Escaping(&mut self.text).write_str(text);
    }

    /// An element that holds a text.
    pub fn text(&mut self, name: &str, value: impl Display) {
        self.text.extend(["<", name, ">"]);
        let _ = write!(Escaping(&mut self.text), "{value}");
        self.text.extend(["</", name, ">"]);
    }

    /// What is XML already.
    pub fn raw(&mut self, xml: &str) {
        self.text.push_str(xml);
    }

    /// An element that holds a text, if there is one.
    pub fn optional(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// A list: an element with one `item` for each of the things.
    pub fn list<T>(
        &mut self,
        name: &str,
        things: impl IntoIterator<Item = T>,
        mut item: impl FnMut(&mut Self, T),
    ) {
        self.element(name, |xml| {
            for thing in things {
                xml.element("item", |xml| item(xml, thing));
            }
        });
    }
}

/// Writes texts into an XML text, as they must be spelled there.
struct Escaping<'a>(&'a mut String);

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let is_special = |letter: char| {
            matches!(letter, '&' | '<' | '>' | '"' | '\u{FFFE}' | '\u{FFFF}') || letter < ' '
        };
        let mut rest = text;
        while let Some(at) = rest.find(is_special) {
            let (plain, special) = rest.split_at(at);
            let mut letters = special.chars();
            let letter = letters.next().unwrap_or_default();
            self.0.push_str(plain);
            self.0.push_str(match letter {
                '&' => "&amp;",
                '<' => "&lt;",
                '>' => "&gt;",
                '"' => "&quot;",
                '\t' => "\t",
                '\n' => "\n",
                // A plain one would be read as the end of a line.
                '\r' => "&#13;",
                // XML 1.0 cannot hold the other control characters, and two more, at all.
                _ => "\u{FFFD}",
            });
            rest = letters.as_str();
        }
        self.0.push_str(rest);
        Ok(())
    }
}
