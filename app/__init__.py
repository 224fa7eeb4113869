"""The Lightbox application: settings, accounts, storage, services, pages and command line."""
