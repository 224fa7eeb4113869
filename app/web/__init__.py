"""The HTTP side of Lightbox: gate, sign-in pages, image routes, and the server around Gradio."""
