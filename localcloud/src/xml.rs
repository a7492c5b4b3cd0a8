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
        let _ = write!(self.text, "<{name}>");
        content(self);
        let _ = write!(self.text, "</{name}>");
    }

    /// An element that holds a text.
    pub fn text(&mut self, name: &str, value: impl Display) {
        let _ = write!(self.text, "<{name}>");
        self.escape(&value.to_string());
        let _ = write!(self.text, "</{name}>");
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

    fn escape(&mut self, text: &str) {
        for letter in text.chars() {
            match letter {
                '&' => self.text.push_str("&amp;"),
                '<' => self.text.push_str("&lt;"),
                '>' => self.text.push_str("&gt;"),
                '"' => self.text.push_str("&quot;"),
                // XML 1.0 cannot hold the other control characters at all.
                letter if letter < ' ' && !matches!(letter, '\t' | '\n' | '\r') => {
                    self.text.push('\u{FFFD}')
                }
                letter => self.text.push(letter),
            }
        }
    }
}
