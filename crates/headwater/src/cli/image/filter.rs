//! The filter words of `image list`, as `lxc image list` takes them (LXD `lxc/image.go`).
//!
//! `key=value` is true when the field or a property of that name has that value: compared whole, whatever the case, as a
//! regular expression, with commas between alternatives. Keys can be shortened at each dot: `req.cd` finds
//! `requirements.cdrom_agent`. A bare word is true when an alias or the fingerprint contains it. All words have to be true.

use headwater_formats::filter::{Filter, Value, image_field};
use headwater_formats::image::ImageType;

use crate::catalog::StoredImage;
use crate::cli::stop::Stop;

/// One word.
#[derive(Debug)]
pub(super) enum Word {
    /// A part of an alias or of the fingerprint.
    Part(String),
    /// `key=value`
    Field { key: String, value: Filter },
}

impl Word {
    pub(super) fn parse(text: &str) -> Result<Self, Stop> {
        let Some((key, value)) = text.split_once('=') else {
            return Ok(Self::Part(text.to_owned()));
        };
        let key = match key {
            "arch" => "architecture",
            key => key.strip_prefix("properties.").unwrap_or(key),
        };
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(Stop::usage(format!("{text:?} is no filter; write key=value, for example os=debian")));
        }
        let value = match value.parse::<ImageType>() {
            Ok(image_type) if key == "type" => image_type.as_str(),
            _ => value,
        };
        match Filter::equal(key, value) {
            Ok(value) => Ok(Self::Field { key: key.to_owned(), value }),
            Err(error) => {
                let text: String = text.chars().take(64).collect();
                Err(Stop::usage(format!("{text:?} is no filter: {error}")))
            }
        }
    }

    pub(super) fn matches(&self, stored: &StoredImage) -> bool {
        let image = &stored.image;
        match self {
            Self::Part(part) => {
                image.fingerprint.to_string().contains(part)
                    || stored.aliases.iter().any(|alias| alias.name.as_str().contains(part))
            }
            Self::Field { key, value } => {
                value.matches(|field| image_field(image, stored.project.as_str(), field))
                    || image
                        .properties
                        .iter()
                        .filter(|(name, _)| shortens(key, name))
                        .any(|(_, text)| value.matches(|_| Some(Value::Text(text.into()))))
            }
        }
    }
}

/// Whether the key is this name, or has as many parts as it and each part begins the name's.
fn shortens(key: &str, name: &str) -> bool {
    key.split('.').count() == name.split('.').count()
        && key.split('.').zip(name.split('.')).all(|(short, full)| full.starts_with(short))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_shortened_part_by_part() {
        assert!(shortens("os", "os") && shortens("rel", "release") && shortens("req.cd", "requirements.cdrom_agent"));
        assert!(!shortens("requirements", "requirements.cdrom_agent") && !shortens("osx", "os"));
    }

    #[test]
    fn a_value_is_a_value_whatever_stands_in_it() {
        let Word::Field { value, .. } = Word::parse("os=a\" or os eq \"b").unwrap() else { panic!("a field") };
        let found = |os: &'static str| value.matches(|_| Some(Value::Text(os.into())));
        assert!(found("a\" or os eq \"b") && !found("a") && !found("b"));
    }

    #[test]
    fn what_is_no_filter_is_told() {
        for text in ["=x", "a b=c"] {
            assert!(
                matches!(Word::parse(text), Err(Stop::Usage(sentence)) if sentence.contains("is no filter")),
                "{text}"
            );
        }
    }
}
