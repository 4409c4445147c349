import asyncio

import pixwire


async def main() -> None:
    async with pixwire.connect("pixwire://localhost") as client:
        image = await client.generate("a red circle on a blue background", seed=7)
        image.save("circle.png")


asyncio.run(main())
