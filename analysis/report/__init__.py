"""Tables, figures, closure with the publication and the HTML report."""
