"""What each target is known to do otherwise than AWS, by test. docs/localcloud.md shows it as a table."""

DIFFERENCES = {
    "localcloud": {},
    "moto": {},
}
