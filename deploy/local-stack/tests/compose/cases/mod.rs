pub(crate) mod file;
pub(crate) mod kills;
pub(crate) mod stops;
