//! The files of a grade.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use platform::process::print;

use super::submission::Student;
use crate::grade::args::GradeArgs;
use crate::report::graded::Graded;
use crate::report::graded_page::page;
use crate::report::grades_csv::grades_csv;
use crate::report::rubric::Rubric;

/// Returns how messages name a student.
pub fn name_of(student: &Student) -> String {
    let name = format!("{} {}", student.first_name, student.last_name);
    match name.trim() {
        "" => student.id.clone(),
        name => format!("{name} ({})", student.id),
    }
}

/// Writes the JSON and the HTML report. With a roster, their names have the student's id.
///
/// # Errors
/// When a file cannot be written.
pub fn write_reports(args: &GradeArgs, rubric: &Rubric, graded: &Graded) -> anyhow::Result<()> {
    let json = match &args.points.roster {
        Some(_) => {
            let stem = args
                .report
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy();
            args.report
                .with_file_name(format!("{stem}-{}.json", graded.id))
        }
        None => args.report.clone(),
    };
    write(&json, &(serde_json::to_string_pretty(graded)? + "\n"))?;
    let html = json.with_extension("html");
    write(&html, &page(rubric, graded))?;
    print(format_args!(
        "report    {} and {}",
        html.display(),
        json.display()
    ))?;
    Ok(())
}

/// Writes the grades of all so far.
///
/// # Errors
/// When the file cannot be written.
pub fn write_grades(args: &GradeArgs, rubric: &Rubric, all: &[Graded]) -> anyhow::Result<()> {
    let file = grades_file(args);
    write(&file, &grades_csv(rubric, all))?;
    print(format_args!("grades    {}", file.display()))?;
    Ok(())
}

fn grades_file(args: &GradeArgs) -> PathBuf {
    let beside = || args.report.with_file_name("grades.csv");
    args.points.grades.clone().unwrap_or_else(beside)
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
