"""Stream jobs: PyFlink defines them from the contracts and one SQL file per domain; the JVM runs them."""
