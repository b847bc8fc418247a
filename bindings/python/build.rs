//! Passes the target interpreter's version on as `Py_3_x` cfgs.

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
}
