"""`python -m asi_image_async` is the command `asi-image`."""

from .cli import main

if __name__ == "__main__":
    main()
