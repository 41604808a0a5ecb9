"""The four-constraint kinematic fit and the mass assignments it is run under."""
