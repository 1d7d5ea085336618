"""What a visitor does on the page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from playwright.sync_api import Browser, Locator, Page, expect

# A loaded machine may take long for each.
PATIENCE = 60_000


class Visitor:
    """A browser's page, and the addresses that it has asked for."""

    def __init__(self, page: Page, address: str):
        self.page, self.asked = page, []
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(address)
        expect(page.locator("#cost")).to_contain_text("megapixels", timeout=PATIENCE)

    def fill(self, where: str, text: object) -> None:
        """Type into the field `where` (a selector of what it lies in) and leave it."""
        field = self.page.locator(where).locator("input[type=number], textarea").first
        field.fill(str(text))
        field.blur()

    def ask(self, prompt: str, side: int = 320, steps: int = 2) -> None:
        """Fill the form for a quick picture."""
        self.fill("label:has-text('Prompt')", prompt)
        self.fill("#width", side)
        self.see("#cost", f"{side * side / 1e6:.2f} megapixels")
        more = self.page.get_by_role("button", name="More settings")
        more.click()
        shown = self.page.locator("#steps input[type=range]")
        for _ in range(PATIENCE // 5000):
            self.fill("#steps", steps)
            # A page that has only just come may not listen yet to what is typed into a field.
            with suppress(AssertionError):
                expect(shown).to_have_value(str(steps), timeout=5000)
                break
        expect(shown).to_have_value(str(steps))
        self.settle()
        more.click()

    def settle(self) -> None:
        """Wait until the page has handed a field's value on, which it does a moment after the field is left.

        By the page's own clock: on a busy machine its timers are as late as what they wait for.
        """
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 300)))")

    def draw(self) -> None:
        """Press the button."""
        self.page.locator("#draw").click()

    def see(self, where: str, text: str) -> None:
        """Wait until `text` stands there."""
        expect(self.page.locator(where)).to_contain_text(text, timeout=PATIENCE)

    def picture(self, where: str = "#picture") -> Locator:
        """Wait until a picture is shown there, wholly loaded."""
        image = self.page.locator(f"{where} img").first
        image.wait_for()
        self.page.wait_for_function(
            "image => image.complete && image.naturalWidth > 0", arg=image.element_handle()
        )
        return image


@contextmanager
def visiting(browser: Browser, address: str, width: int = 1280, height: int = 900) -> Iterator[Visitor]:
    """A visitor with a window of that size and no cookies."""
    context = browser.new_context(viewport={"width": width, "height": height})
    try:
        yield Visitor(context.new_page(), address)
    finally:
        context.close()
