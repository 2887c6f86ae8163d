"""Names that tests share with what starts the emulators: a module called `conftest` is not alone."""

PROJECT = "emulated-project"
LOCATION = f"projects/{PROJECT}/locations/europe-west3"
