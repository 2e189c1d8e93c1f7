"""Language models, as far as they are data: what is asked and answered, who may be asked, and what a failure means."""
