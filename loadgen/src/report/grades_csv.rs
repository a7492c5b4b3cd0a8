//! The grades of a roster as CSV.

use super::graded::{Graded, number};
use super::rubric::{Rubric, name_of};
use crate::truth::quoted;

/// Returns a row for each submission: the roster's columns, the deductions together, the points of each case, the total and
/// the comments.
#[must_use]
pub fn grades_csv(rubric: &Rubric, all: &[Graded]) -> String {
    let mut csv = String::from("ASUID,First Name,Last Name,deductions");
    for case in &rubric.cases {
        csv.push(',');
        csv.push_str(&name_of(&case.check));
    }
    csv.push_str(",total,of,comments\n");
    for graded in all {
        let points = &graded.points;
        let deducted: f64 = points.deductions.iter().map(|line| line.points).sum();
        let mut row = vec![
            text(&graded.id),
            text(&graded.first_name),
            text(&graded.last_name),
            number(deducted),
        ];
        row.extend(points.cases.iter().map(|line| number(line.points)));
        row.extend([
            number(points.total),
            number(points.of),
            text(&points.comments()),
        ]);
        csv.push_str(&row.join(","));
        csv.push('\n');
    }
    csv
}

/// A spreadsheet must not take a text for a formula.
fn text(field: &str) -> String {
    match field.starts_with(['=', '+', '-', '@', '\t']) {
        true => quoted(&format!("'{field}")),
        false => quoted(field),
    }
}

#[cfg(test)]
mod tests {
    use super::super::points::Points;
    use super::super::rubric::DEFAULT;
    use super::*;

    #[test]
    fn a_row_has_the_columns_of_the_roster_and_of_the_rubric() {
        let rubric = Rubric::parse(DEFAULT).unwrap();
        let student = |id: &str, last: &str| (id.to_owned(), "=1+1".to_owned(), last.to_owned());
        let all = [
            Graded::without_run(
                student("17", "Doe, \"Dr.\""),
                Points::none(&rubric, "no zip, no points"),
            ),
            Graded::without_run(student("18", "Roe"), Points::none(&rubric, "late")),
        ];
        let csv = grades_csv(&rubric, &all);
        let expected = "\
ASUID,First Name,Last Name,deductions,scale-in,in-bucket,out-bucket,names,latency,scale-out,back-to-zero,request-queue,reply-queue,total,of,comments
17,'=1+1,\"Doe, \"\"Dr.\"\"\",0,0,0,0,0,0,0,0,0,0,0,100,\"not graded: no zip, no points\"
18,'=1+1,Roe,0,0,0,0,0,0,0,0,0,0,0,100,not graded: late
";
        assert_eq!(csv, expected);
    }
}
