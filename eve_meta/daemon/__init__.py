"""The process of ``eve-meta serve``: joins the rooms, and hands over to the next daemon."""
