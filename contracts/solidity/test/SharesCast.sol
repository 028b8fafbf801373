// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {AssetShares} from "../src/asset/AssetShares.sol";
import {Dividends} from "../src/asset/Dividends.sol";
import {AssetCast} from "./AssetCast.sol";

/// @dev Ada shares her roof out: Ada 40, Bo 35, Cy 25 of 100 shares, a quorum of 70. Di has money and no shares.
abstract contract SharesCast is AssetCast {
    uint64 internal constant PERIOD = 7 days;

    AssetShares internal shares;

    function setUp() public virtual override {
        super.setUp();
        shares = new AssetShares(assets, PERIOD);
        address[4] memory all = [ADA, BO, CY, DI];
        for (uint256 i = 0; i < 4; i++) {
            token.mint(all[i], 1_000_000);
            VM.prank(all[i]);
            token.approve(address(shares), type(uint256).max);
        }
        token.mint(address(this), type(uint128).max);
        token.approve(address(shares), type(uint256).max);
        share(100, 70);
        move(ADA, BO, 35);
        move(ADA, CY, 25);
    }

    function share(uint128 count, uint128 quorum) internal {
        VM.startPrank(ADA);
        assets.approve(address(shares), roof);
        shares.fractionalise(roof, count, quorum);
        VM.stopPrank();
    }

    function move(address from, address to, uint256 count) internal {
        VM.prank(from);
        shares.safeTransferFrom(from, to, roof, count, "");
    }

    function offer(address bidder, uint128 price) internal returns (uint64) {
        VM.prank(bidder);
        return shares.offer(roof, price);
    }

    function accept(address seller, uint64 number, uint128 count) internal {
        VM.prank(seller);
        shares.accept(roof, number, count);
    }

    function counter(address buyer, uint64 number, uint128 count) internal {
        VM.prank(buyer);
        shares.counter(roof, number, count);
    }

    function claim(address account) internal returns (uint256) {
        VM.prank(account);
        return shares.claim(roof);
    }

    function claimable(address account) internal view returns (uint256) {
        return shares.claimable(roof, account);
    }

    function held(address account) internal view returns (uint256) {
        return shares.balanceOf(account, roof);
    }

    /// @dev Every base unit held here is somebody's: dividends not taken out, and the escrow.
    function assertConserved() internal view {
        Dividends.Pot memory pot = shares.potOf(roof);
        assertEq(token.balanceOf(address(shares)), pot.paidInUnits - pot.claimedUnits + shares.escrowOf(roof));
    }
}
