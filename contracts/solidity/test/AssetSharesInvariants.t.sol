// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {AssetShares} from "../src/asset/AssetShares.sol";
import {BuyOut} from "../src/asset/BuyOut.sol";
import {Dividends} from "../src/asset/Dividends.sol";
import {EnergyAssetNFT} from "../src/EnergyAssetNFT.sol";
import {EnergyToken} from "../src/EnergyToken.sol";
import {AssetCast} from "./AssetCast.sol";

/// @dev Four people do whatever they may with two shared assets, in any order and at any pace.
contract Shareholders is AssetCast {
    uint64 internal constant PERIOD = 1 days;

    AssetShares internal shares;
    uint256 internal nowS = START;
    address[4] public people = [ADA, BO, CY, DI];

    constructor() {
        setUp();
    }

    function setUp() public override {
        require(address(shares) == address(0), "there is one world");
        super.setUp();
        shares = new AssetShares(assets, PERIOD);
        register(2);
        for (uint256 i = 0; i < 4; i++) {
            token.mint(people[i], 1e18);
            VM.startPrank(people[i]);
            token.approve(address(shares), type(uint256).max);
            assets.setApprovalForAll(address(shares), true);
            VM.stopPrank();
        }
        share(0, 0, 90);
        share(1, 1, 1_000);
        VM.startPrank(ADA);
        shares.safeTransferFrom(ADA, CY, 1, 30, "");
        shares.safeTransferFrom(ADA, DI, 1, 20, "");
        VM.stopPrank();
    }

    function world() external view returns (AssetShares, EnergyAssetNFT, EnergyToken) {
        return (shares, assets, token);
    }

    modifier by(uint256 who) {
        VM.warp(nowS);
        VM.startPrank(people[who % 4]);
        _;
        VM.stopPrank();
    }

    function share(uint8 who, uint8 id, uint16 count) public by(who) {
        uint128 all = uint128(count) + 1;
        shares.fractionalise(idOf(id), all, (all * 2 + 2) / 3);
    }

    function pay(uint8 who, uint8 id, uint32 amount) external by(who) {
        shares.payDividend(idOf(id), amount);
    }

    function send(uint8 who, uint8 to, uint8 id, uint16 count) external by(who) {
        uint256 held = shares.balanceOf(people[who % 4], idOf(id));
        shares.safeTransferFrom(people[who % 4], people[to % 4], idOf(id), bound(count, 0, held), "");
    }

    function take(uint8 who, uint8 id) external by(who) {
        shares.claim(idOf(id));
    }

    function offer(uint8 who, uint8 id, uint16 price) external by(who) {
        shares.offer(idOf(id), price);
    }

    function accept(uint8 who, uint8 id, uint16 count) external by(who) {
        uint256 held = shares.balanceOf(people[who % 4], idOf(id));
        shares.accept(idOf(id), shares.offerOf(idOf(id)).number, uint128(count % 4 == 0 ? held : bound(count, 0, held)));
    }

    function acceptAll(uint8 id) external {
        VM.warp(nowS);
        BuyOut.Offer memory standing = shares.offerOf(idOf(id));
        for (uint256 i = 0; i < 4; i++) {
            uint256 held = shares.balanceOf(people[i], idOf(id));
            // Bo always keeps some, so that something is left to surrender.
            if (people[i] == BO) held -= held / 4;
            if (people[i] == standing.bidder || held == 0) continue;
            VM.prank(people[i]);
            shares.accept(idOf(id), standing.number, uint128(held));
        }
    }

    function counter(uint8 who, uint8 id, uint16 count) external by(who) {
        BuyOut.Offer memory standing = shares.offerOf(idOf(id));
        uint256 held = shares.balanceOf(standing.bidder, idOf(id));
        shares.counter(idOf(id), standing.number, uint128(bound(count, 0, held)));
    }

    function complete(uint8 id) external {
        waitUntil(shares.offerOf(idOf(id)).decidesAtS);
        shares.complete(idOf(id));
    }

    function close(uint8 id) external {
        waitUntil(shares.offerOf(idOf(id)).acceptUntilS);
        shares.close(idOf(id));
    }

    function surrender(uint8 who, uint8 id) external {
        shares.surrender(idOf(id), people[who % 4]);
    }

    /// @dev A whole buy-out, which chance would seldom bring about.
    function buyOut(uint8 who, uint8 id, uint16 price) external {
        this.offer(who, id, price);
        this.acceptAll(id);
        this.complete(id);
    }

    function waitUntil(uint256 timeS) private {
        if (nowS < timeS) nowS = timeS;
        VM.warp(nowS);
    }

    function redeem(uint8 who, uint8 id) external by(who) {
        shares.redeem(idOf(id));
    }

    function wait(uint16 minutes_) external {
        nowS += uint256(minutes_ % 1_500) * 60;
    }

    function idOf(uint8 id) internal pure returns (uint256) {
        return 1 + id % 2;
    }
}

contract AssetSharesInvariantsTest is AssetCast {
    Shareholders internal holders;
    AssetShares internal shares;

    function setUp() public override {
        holders = new Shareholders();
        (shares, assets, token) = holders.world();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(holders);
    }

    /// @dev Every base unit held is a dividend not yet taken out, or escrow.
    function invariant_every_unit_is_accounted_for() external view {
        uint256 claims;
        for (uint256 id = 1; id <= 2; id++) {
            Dividends.Pot memory pot = shares.potOf(id);
            claims += pot.paidInUnits - pot.claimedUnits + shares.escrowOf(id);
        }
        assertEq(token.balanceOf(address(shares)), claims);
    }

    /// @dev What all are entitled to and the remainder is exactly what was paid in and not taken out.
    function invariant_entitlements_are_what_was_paid_in() external view {
        for (uint256 id = 1; id <= 2; id++) {
            Dividends.Pot memory pot = shares.potOf(id);
            uint256 entitled = pot.remainder;
            for (uint256 i = 0; i < 4; i++) {
                entitled += shares.entitledOf(id, holders.people(i));
            }
            assertEq(entitled, uint256(pot.paidInUnits - pot.claimedUnits) << 128);
        }
    }

    /// @dev The asset is locked as long as a share stands for it, and never without one.
    function invariant_the_asset_is_locked_while_it_is_shared() external view {
        for (uint256 id = 1; id <= 2; id++) {
            bool isLocked = assets.ownerOf(id) == address(shares);
            BuyOut.Stage stage = shares.sharingOf(id).stage;
            assertTrue(isLocked == (stage == BuyOut.Stage.SHARED));
            assertTrue((shares.sharesOf(id) == 0) == (stage == BuyOut.Stage.WHOLE));
        }
    }

    /// @dev The escrow covers, at the price offered, exactly the shares that the bidder does not hold.
    function invariant_every_share_is_covered_while_an_offer_stands() external view {
        for (uint256 id = 1; id <= 2; id++) {
            BuyOut.Offer memory standing = shares.offerOf(id);
            if (standing.number == 0) continue;
            uint256 others = shares.sharesOf(id) - shares.balanceOf(standing.bidder, id);
            assertEq(standing.escrow, uint256(standing.price) * others);
        }
    }

    /// @dev The shares are those that people hold.
    function invariant_shares_are_the_sum_of_balances() external view {
        for (uint256 id = 1; id <= 2; id++) {
            uint256 held;
            for (uint256 i = 0; i < 4; i++) {
                held += shares.balanceOf(holders.people(i), id);
            }
            assertEq(shares.sharesOf(id), held);
        }
    }
}
